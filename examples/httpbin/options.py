"""Header values with parameters, like `multipart/form-data; boundary=x`, as Werkzeug reads them."""

import re
from urllib.parse import unquote

TOKEN = r"[\w!#$%&'*+\-.^`|~]+"
PARAMETER = re.compile(rf'({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*")?', re.ASCII | re.DOTALL)
DELIMITER = re.compile(r";[ \t]*")
ENCODED_VALUE = re.compile(r"([\w!#$%&*+\-.^`|~]*)'[\w!#$%&*+\-.^`|~]*'(.+)", re.ASCII)
CHARSETS = {"ascii", "us-ascii", "utf-8", "iso-8859-1"}


def parse_options(header: str) -> tuple[str, dict[str, str]]:
    """The value before the first `;` and the parameters after it; what is malformed is skipped.

    The numbered continuations of RFC 2231 (`name*0=`) are not joined: no HTTP client sends them.
    """
    value, _, rest = (part.strip(" \t") for part in header.partition(";"))
    options: dict[str, str] = {}
    position = 0
    while position < len(rest):
        if match := PARAMETER.match(rest, position):
            position = match.end()
            if match[2] is not None:
                _add_option(options, match[1].lower(), match[2])
            elif rest.startswith('"', position):  # never closed
                break
        delimiter = DELIMITER.search(rest, position)
        if delimiter is None:
            break
        position = delimiter.end()
    return value, options if value else {}


def _add_option(options: dict[str, str], name: str, raw: str) -> None:
    if name.endswith("*"):
        options[name[:-1]] = _decode_extended(raw)
    else:
        options[name] = _unquote(raw).replace("%22", '"')


def _decode_extended(raw: str) -> str:
    """The value in `name*=utf-8''%C3%A9` (RFC 8187)."""
    match = ENCODED_VALUE.fullmatch(raw)
    if match is None:
        return raw
    charset = match[1].lower()
    return unquote(match[2], encoding=charset) if charset in CHARSETS else match[2]


def _unquote(raw: str) -> str:
    if len(raw) >= 2 and raw.startswith('"') and raw.endswith('"'):
        return re.sub(r"\\(.)", r"\1", raw[1:-1])
    return raw
