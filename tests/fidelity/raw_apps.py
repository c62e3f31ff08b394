"""WSGI apps without a framework: the environ shown, and responses made as a program asks."""

import io
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

EVENTS: defaultdict[str, list[str]] = defaultdict(list)
"""By the `id` of a request, what happened to it. Shared with the Flask app."""

# The servers' ports differ, and their clients'.
OWN_TO_EACH_SERVER = frozenset({"REMOTE_PORT", "SERVER_PORT"})


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The environ as JSON; of what is no text or number, the type, and of what PEP 3333 does not know, nothing."""
    shown = {
        key: value if isinstance(value, (str, bool, tuple)) else type(value).__name__
        for key, value in environ.items()
        if key.startswith(("wsgi.", "HTTP_")) or (key.isupper() and key not in OWN_TO_EACH_SERVER)
    }
    for key in ("wsgi.input", "wsgi.errors", "wsgi.early_hints", "wsgi.file_wrapper"):
        shown[key] = key in environ
    body = json.dumps(shown, sort_keys=True, indent=1).encode()
    start_response("200 OK", [("Content-Type", "text/json"), ("Content-Length", str(len(body)))])
    return [body]


READ: dict[str, Callable[[Any], Any]] = {
    "read": lambda body: [body.read(), body.read(), body.read(1)],
    "read-none": lambda body: [body.read(None)],
    "read-negative": lambda body: [body.read(-1)],
    "read-zero": lambda body: [body.read(0), body.read(0), body.read(3)],
    "read-7": lambda body: list(iter(lambda: body.read(7), b"")),
    "read-much": lambda body: [body.read(10_000_000)],
    "readline": lambda body: list(iter(body.readline, b"")),
    "readline-none": lambda body: list(iter(lambda: body.readline(None), b"")),
    "readline-4": lambda body: list(iter(lambda: body.readline(4), b"")),
    "readline-zero": lambda body: [body.readline(0), body.readline()],
    "readlines": lambda body: body.readlines(),
    "readlines-hint": lambda body: [b"|".join(body.readlines(5)), b"|".join(body.readlines(100))],
    "iteration": lambda body: list(body),
    "next": lambda body: [next(body, b"none"), body.readline(2), body.read(2), *body],
    "mixture": lambda body: [body.readline(3), body.read(2), body.readline(), body.read(1), *body.readlines()],
    "nothing": lambda body: [],
}
"""Ways to read `wsgi.input`, by name."""


def read_input(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What is read in the way that the path names, as JSON."""
    parts = READ[environ["PATH_INFO"].strip("/")](environ["wsgi.input"])
    body = json.dumps([part.decode("latin-1") for part in parts]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def run_program(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """Do what the program in the query says; see `programs.Program`."""
    query = parse_qs(environ["QUERY_STRING"], encoding="latin-1")
    program = json.loads(query["program"][0])
    machine = Machine(environ, start_response, EVENTS[query.get("id", [""])[0]])
    machine.run(program["call"])
    items = machine.iterate(program["body"])
    match program["returns"]:
        case "closeable":
            return Closeable(items, lambda: machine.run(program["close"]))
        case "list":
            return list(items)
        case "iterator":  # has no `close`, unlike a generator
            return map(bytes, items)
        case "file":
            return environ["wsgi.file_wrapper"](io.BytesIO(b"".join(items)), 100)
        case "none":
            return None
        case "text":
            return "text"


class Closeable:
    def __init__(self, items: Iterator[Any], close: Callable[[], None]) -> None:
        self._items = items
        self.close = close

    def __iter__(self) -> Iterator[Any]:
        return self._items


class Machine:
    """Runs the steps of a program. Each method but `run` and `iterate` is a step."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any], events: list[str]) -> None:
        self.environ = environ
        self.start_response = start_response
        self.events = events
        self.writer: Callable[[bytes], None] = lambda data: None

    def run(self, steps: list[Any]) -> None:
        for name, *arguments in steps:
            getattr(self, name)(*arguments)

    def iterate(self, steps: list[Any]) -> Iterator[Any]:
        try:
            for name, *arguments in steps:
                if name == "item":
                    yield arguments[0].encode("latin-1")
                elif name == "items":
                    number, size = arguments
                    for _ in range(number):
                        yield b"x" * size
                elif name == "oddity":
                    yield arguments[0]
                else:
                    getattr(self, name)(*arguments)
        finally:
            self.events.append("iteration ended")

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.writer = self.start_response(status, [(name, value) for name, value in headers])

    def restart(self, status: str, headers: list[tuple[str, str]]) -> None:
        try:
            raise LookupError("that is why")
        except LookupError:
            self.writer = self.start_response(status, [(name, value) for name, value in headers], sys.exc_info())

    def write(self, text: str) -> None:
        self.writer(text.encode("latin-1"))

    def read(self, size: int) -> None:
        self.events.append(f"read {len(self.environ['wsgi.input'].read(size))}")

    def note(self, event: str) -> None:
        self.events.append(event)

    def fail(self) -> None:
        raise ValueError("as the program says")

    def exit(self) -> None:
        raise SystemExit
