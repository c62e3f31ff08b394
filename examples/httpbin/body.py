"""What Flask makes of a request body."""

import base64
from dataclasses import dataclass, field

from examples.httpbin.multipart import Part, parse_multipart
from examples.httpbin.options import parse_options
from examples.httpbin.query import Pairs, parse_pairs


@dataclass(frozen=True)
class Body:
    data: bytes = b""
    """The body itself; empty once a form was read from it."""
    form: Pairs = field(default_factory=list)
    files: list[Part] = field(default_factory=list)


def parse_body(content_type: str, body: bytes) -> Body:
    """An unreadable form is an empty form, as in Werkzeug; one beyond Flask's limits is answered with 413."""
    media_type, options = parse_options(content_type)
    boundary = options.get("boundary", "")
    try:
        match media_type.lower():
            case "application/x-www-form-urlencoded":
                return Body(form=parse_pairs(body.decode()))
            case "multipart/form-data" if boundary and boundary.isascii():
                return _sort_parts(parse_multipart(body, boundary.encode()))
    except ValueError:
        return Body()
    return Body(data=body)


def _sort_parts(parts: list[Part]) -> Body:
    fields = [(part.name, part.text()) for part in parts if part.filename is None]
    return Body(form=fields, files=[part for part in parts if part.filename is not None])


def show_bytes(content: bytes, content_type: str | None = None) -> str:
    """UTF-8 as text, anything else as a `data:` URL (RFC 2397)."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        encoded = base64.b64encode(content).decode()
        return f"data:{content_type or 'application/octet-stream'};base64,{encoded}"
