"""Responses with Flask's bodies and content types."""

import html
import json
import re
from typing import Any

from starlette.responses import HTMLResponse, Response

from examples.httpbin.urls import quote_location

HEADER_NAME = re.compile(r"[\w!#$%&'*+\-.^`|~]+", re.ASCII)
HEADER_VALUE = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")

REDIRECT_PAGE = """\
<!doctype html>
<html lang=en>
<title>Redirecting...</title>
<h1>Redirecting...</h1>
<p>You should be redirected automatically to the target URL: <a href="{location}">{location}</a>. \
If not, click the link.
"""


class SortedJSONResponse(Response):
    """JSON as Flask's provider writes it with `compact = False`: sorted, indented, ASCII, a newline at the end."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dump_json(content)


def dump_json(content: Any) -> bytes:
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()


def add_header(response: Response, name: str, value: str) -> None:
    """Raises `ValueError` for what a server would refuse to send, while it can still become an error page."""
    if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
        raise ValueError(f"no header for the wire: {name!r}")
    response.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))


def redirect(location: str, status_code: int = 302) -> HTMLResponse:
    page = REDIRECT_PAGE.format(location=_escape(location))
    return HTMLResponse(page, status_code, {"Location": quote_location(location)})


def _escape(text: str) -> str:
    # MarkupSafe's references for quotes; html.escape would write &quot; and &#x27;.
    return html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")
