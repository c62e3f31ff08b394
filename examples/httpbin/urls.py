"""URLs as Werkzeug shows them (IRIs, with every character readable that may be) and as it sends them."""

import codecs
import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

# https://url.spec.whatwg.org/#url-path-segment-string
PATH_SAFE = "!$&'()*+,/:;=@"

HOST = re.compile(r"([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+])(?::([1-9][0-9]{,4}))?", re.ASCII | re.IGNORECASE)
DEFAULT_PORT = {"http": ":80", "https": ":443"}

KEEP_QUOTED = "httpbin.keep_quoted"


def _keep_quoted(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return quote(error.object[error.start : error.end], safe=""), error.end


# An error handler for decoding percent-encoded UTF-8: what is not UTF-8 stays percent-encoded.
codecs.register_error(KEEP_QUOTED, _keep_quoted)


def _triplets(characters: str) -> re.Pattern[str]:
    choices = "|".join(f"{ord(character):02X}" for character in characters)
    return re.compile(f"((?:%(?:{choices}))+)", re.IGNORECASE)


# Controls, the space and "%" stay quoted in every part; so do the characters that would end the part.
ALWAYS_QUOTED = bytes((*range(0x21), 0x25, 0x7F)).decode()
QUOTED_IN_PATH = _triplets(ALWAYS_QUOTED + "/?#")
QUOTED_IN_QUERY = _triplets(ALWAYS_QUOTED + "&=+#")


def valid_host(scheme: str, host: str) -> str:
    """The host in lower case without the scheme's default port; empty when it has a character no host has."""
    host = host.removesuffix(DEFAULT_PORT.get(scheme, ""))
    match = HOST.fullmatch(host)
    if match is None or int(match[2] or 1) > 65535:
        return ""
    return host.lower()


def readable_url(scheme: str, host: str, path: str, query: bytes) -> str:
    readable = _unquote_except(quote(path, safe=PATH_SAFE + "%"), QUOTED_IN_PATH)
    if query:
        readable += "?" + _unquote_except(quote(query, safe=PATH_SAFE + "?%"), QUOTED_IN_QUERY)
    return f"{scheme}://{_readable_host(host)}{readable}"


def quote_path(path: str) -> str:
    return quote(path, safe=PATH_SAFE)


def quote_location(location: str) -> str:
    """A `Location` in ASCII. What is percent-encoded already stays as it is."""
    parts = urlsplit(location)
    return urlunsplit(
        parts._replace(
            path=quote(parts.path, safe=PATH_SAFE + "%"),
            query=quote(parts.query, safe=PATH_SAFE + "?%"),
            fragment=quote(parts.fragment, safe=PATH_SAFE + "#?%"),
        )
    )


def _readable_host(host: str) -> str:
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return host


def _unquote_except(value: str, kept: re.Pattern[str]) -> str:
    # Every second piece is a run of triplets to keep.
    pieces = enumerate(kept.split(value))
    return "".join(piece if i % 2 else unquote(piece, "utf-8", KEEP_QUOTED) for i, piece in pieces)
