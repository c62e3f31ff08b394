"""What a WSGI app should do, as a request to `raw_apps.run_program`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

Step = tuple[Any, ...]
Header = tuple[str, str]


@dataclass(frozen=True)
class Program:
    """Steps that the app takes when it is called, while its response is iterated, and when that is closed."""

    call: Sequence[Step] = ()
    body: Sequence[Step] = ()
    close: Sequence[Step] = ()
    returns: Literal["closeable", "list", "iterator", "file", "none", "text"] = "closeable"

    def target(self, key: str = "") -> str:
        program = json.dumps(asdict(self), separators=(",", ":"))
        return f"/raw/run?id={key}&program={quote(program)}"


def start(status: str = "200 OK", *headers: Header) -> Step:
    return "start", status, headers


def restart(status: str = "500 Oops", *headers: Header) -> Step:
    """`start_response` with the exception that is being handled."""
    return "restart", status, headers


def write(text: str) -> Step:
    return "write", text


def item(text: str) -> Step:
    return "item", text


def items(number: int, size: int) -> Step:
    return "items", number, size


def oddity(value: object) -> Step:
    """An item that is no bytes."""
    return "oddity", value


def note(event: str) -> Step:
    return "note", event


def read(size: int) -> Step:
    return "read", size


FAIL: Step = ("fail",)
EXIT: Step = ("exit",)
