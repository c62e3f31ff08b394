"""Cookie headers as Werkzeug reads and writes them."""

import re

from starlette.responses import Response

from examples.httpbin.query import Pairs
from examples.httpbin.responses import add_header

COOKIE = re.compile(
    r"""
    [ \t]*([^ \t=";]+)                                      # name
    (?:[ \t]*=[ \t]*("(?:[^\\"]|\\.)*"|[^ \t";]*))?[ \t]*   # value, quoted or not
    (?:;|\Z)
    """,
    re.ASCII | re.VERBOSE,
)
ESCAPED = re.compile(rb"\\([0-3][0-7]{2}|.)")

UNQUOTED_VALUE = re.compile(r"[\w!#$%&'()*+\-./:<=>?@\[\]^`{|}~]*", re.ASCII)
TO_ESCAPE = re.compile(rb'[\x00-\x1f",;\\\x7f-\xff]')


def parse_cookies(header: str) -> Pairs:
    cookies = []
    position = 0
    while position < len(header):
        match = COOKIE.match(header, position)
        if match:
            cookies.append((match[1], _unquote(match[2] or "")))
            position = match.end()
        else:  # skip what is malformed, up to the next cookie
            position = header.find(";", position) + 1 or len(header)
    return cookies


def set_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    _add_cookie(response, name, _quote(value) + ("; Secure" if secure else ""))


def delete_cookie(response: Response, name: str) -> None:
    _add_cookie(response, name, "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0")


def _add_cookie(response: Response, name: str, value: str) -> None:
    # A name outside ASCII is sent as UTF-8.
    add_header(response, "Set-Cookie", f"{name.encode().decode('latin-1')}={value}; Path=/")


def _unquote(value: str) -> str:
    if len(value) < 2 or not value.startswith('"'):
        return value
    return ESCAPED.sub(_unescape, value[1:-1].encode()).decode(errors="replace")


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return escaped if len(escaped) == 1 else bytes([int(escaped, 8)])


def _quote(value: str) -> str:
    if UNQUOTED_VALUE.fullmatch(value):
        return value
    return '"' + TO_ESCAPE.sub(_escape, value.encode()).decode("ascii") + '"'


def _escape(match: re.Match[bytes]) -> bytes:
    character = match[0]
    return b"\\" + character if character in b'"\\' else b"\\%03o" % character[0]
