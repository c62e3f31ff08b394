"""`multipart/form-data` as Werkzeug parses it: any line ending, no complaint about what follows the end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from examples.httpbin.options import CHARSETS, parse_options

# Flask's defaults for MAX_FORM_MEMORY_SIZE and MAX_FORM_PARTS. Only fields count for the first, not files.
MAX_FIELD_BYTES = 500_000
MAX_PARTS = 1_000

LINE_BREAK = re.compile(rb"\r\n|\n|\r")
BLANK_LINE = re.compile(rb"\r\n\r\n|\r\r|\n\n")
CONTINUED_LINE = re.compile(rb"(?:\r\n|\n|\r)[ \t]")


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None
    """None means that the part is a field, empty that it is a file without a name."""
    content_type: str | None
    content: bytes

    def text(self) -> str:
        charset = parse_options(self.content_type or "")[1].get("charset", "").lower()
        return self.content.decode(charset if charset in CHARSETS else "utf-8", "replace")


def parse_multipart(body: bytes, boundary: bytes) -> list[Part]:
    """Raises `ValueError` for a malformed body and answers 413 beyond Flask's limits."""
    parts = []
    for part in _iterate_parts(body, boundary):
        parts.append(part)
        if len(parts) > MAX_PARTS:
            raise HTTPException(413)
    return parts


def _iterate_parts(body: bytes, boundary: bytes) -> Iterator[Part]:
    # Werkzeug lets the first boundary do without a line break before it.
    delimiter = rb"--%s(--[^\S\n\r]*(?:\r\n|\n|\r)?|[^\S\n\r]*(?:\r\n|\n|\r))" % re.escape(boundary)
    first = re.compile(rb"(?:\r\n|\n|\r)?" + delimiter)
    following = re.compile(rb"(?:\r\n|\n|\r)" + delimiter)

    match = _search(first, body, 0)
    while not match[1].startswith(b"--"):
        blank_line = _search(BLANK_LINE, body, match.end())
        head = _parse_head(body[match.end() : blank_line.start()])
        # The second half of the blank line belongs to the content: it may be the one before the next boundary.
        start = (blank_line.start() + blank_line.end()) // 2
        end = following.search(body, start)
        yield _build_part(head, _content(body, start, end.start() if end else len(body)))
        if end is None:
            raise ValueError("the last boundary is missing")
        match = end


def _search(pattern: re.Pattern[bytes], body: bytes, position: int) -> re.Match[bytes]:
    match = pattern.search(body, position)
    if match is None:
        raise ValueError("the body ends too early")
    return match


def _content(body: bytes, start: int, end: int) -> bytes:
    line_break = LINE_BREAK.match(body, start)
    return body[line_break.end() if line_break else start : end]


def _parse_head(head: bytes) -> dict[str, str]:
    """The part's headers with lower-case names; the first of duplicates counts."""
    headers: dict[str, str] = {}
    for line in CONTINUED_LINE.sub(b" ", head).splitlines():
        name, _, value = line.decode().partition(":")
        headers.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    return headers


def _build_part(headers: dict[str, str], content: bytes) -> Part:
    if "content-disposition" not in headers:
        raise ValueError("a part has no Content-Disposition")
    _, options = parse_options(headers["content-disposition"])
    if "filename" not in options and len(content) > MAX_FIELD_BYTES:
        raise HTTPException(413)
    # A nameless part's name is None in Werkzeug, which JSON writes as the key "null".
    return Part(options.get("name", "null"), options.get("filename"), headers.get("content-type"), content)
