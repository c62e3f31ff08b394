"""When two answers to one request count as the same."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

# What each server, or the gateway between, says for itself: not part of the application's answer.
PER_HOP_HEADERS = frozenset(
    {
        "connection",
        "date",
        "keep-alive",
        "server",
        "server-timing",
        "transfer-encoding",
        "x-request-id",
        "x-served-by",
    }
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True)
class Reduced:
    """What has to be equal. Headers by lower-case name, their values in the order of the answer."""

    status: int
    headers: dict[str, list[str]]
    body: Any
    """Bytes, or for JSON the value with the type of each scalar."""


Rule = Callable[[Answer], Answer]
"""Replaces one generated value by a placeholder, if it has the form it should have."""


def apply_rules(answer: Answer, rules: Iterable[Rule]) -> Answer:
    for rule in rules:
        answer = rule(answer)
    return answer


def reduce_answer(answer: Answer, rules: Iterable[Rule] = ()) -> Reduced:
    answer = apply_rules(answer, rules)
    return Reduced(answer.status, _reduce_headers(answer.headers), _reduce_body(answer))


def _reduce_headers(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    reduced: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() not in PER_HOP_HEADERS:
            reduced.setdefault(name.lower(), []).append(value)
    if "allow" in reduced:  # a set, which Werkzeug writes in the order of hashes
        reduced["allow"] = sorted(", ".join(reduced["allow"]).split(", "))
    return dict(sorted(reduced.items()))


def _reduce_body(answer: Answer) -> Any:
    if answer.header("content-type") != "application/json" or answer.header("content-encoding"):
        return answer.body
    try:
        return show_types(json.loads(answer.body))
    except ValueError:  # a stream of JSON lines, or the empty body of an answer to HEAD
        return answer.body


def show_types(value: Any) -> Any:
    """1, 1.0, True and "1" become different; NaN becomes equal to itself."""
    if isinstance(value, dict):
        return {name: show_types(item) for name, item in value.items()}
    if isinstance(value, list):
        return [show_types(item) for item in value]
    return f"{type(value).__name__} {value!r}"


def random_uuid(answer: Answer) -> Answer:
    uuid4 = rb'"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"'
    return replace(answer, body=re.sub(uuid4, b'"<uuid4>"', answer.body))


def random_bytes(answer: Answer) -> Answer:
    return replace(answer, body=b"<%d bytes>" % len(answer.body))


def gzip_clock(answer: Answer) -> Answer:
    """The four bytes of a gzip header (RFC 1952, section 2.3) that say when it was compressed."""
    if not answer.body.startswith(b"\x1f\x8b\x08"):
        return answer
    return replace(answer, body=answer.body[:4] + b"TIME" + answer.body[8:])


def random_nonce(answer: Answer) -> Answer:
    return _replace_in_header(answer, "www-authenticate", r'(nonce|opaque)="?[0-9a-f]{32,128}"?', r"\1=<hash>")


def random_etag(answer: Answer) -> Answer:
    return _replace_in_header(answer, "etag", r"^[0-9a-f]{32}$", "<etag>")


def modified_now(answer: Answer) -> Answer:
    http_date = r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$"
    return _replace_in_header(answer, "last-modified", http_date, "<date>")


def drawn_status(*statuses: int) -> Rule:
    def rule(answer: Answer) -> Answer:
        return replace(answer, status=min(statuses)) if answer.status in statuses else answer

    return rule


def _replace_in_header(answer: Answer, name: str, pattern: str, placeholder: str) -> Answer:
    headers = (
        (key, re.sub(pattern, placeholder, value) if key.lower() == name else value) for key, value in answer.headers
    )
    return replace(answer, headers=tuple(headers))
