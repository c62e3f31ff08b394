"""A WSGI environ out of an ASGI scope, as gunicorn would have made it (PEP 3333)."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from starlette.types import Scope

# Header names are the client's to invent, so their memory is bounded.
MAX_REMEMBERED_NAMES = 512
FILE_BLOCK_BYTES = 512 * 1024
_names: dict[bytes, str] = {}


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class FileWrapper:
    """`wsgi.file_wrapper`: a file's contents in blocks, of a file in storage never smaller than is worth sending."""

    def __init__(self, filelike: Readable, blksize: int = 8192) -> None:
        self.filelike = filelike
        # A pipe or a socket has one to wait for a whole block: there the app knows what it wants.
        self.blksize = max(blksize, FILE_BLOCK_BYTES) if _is_seekable(filelike) else blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self.blksize)
        if not block:
            raise StopIteration
        return block

    def __getitem__(self, index: int) -> bytes:
        block = self.filelike.read(self.blksize)
        if not block:
            raise IndexError
        return block


def _is_seekable(filelike: Readable) -> bool:
    seekable = getattr(filelike, "seekable", None)
    return seekable is not None and seekable()


class Errors:
    """`wsgi.errors`: whatever `sys.stderr` is at the time of writing."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        sys.stderr.writelines(lines)

    def flush(self) -> None:
        sys.stderr.flush()


def base_environ(*, multiprocess: bool, server_software: str) -> dict[str, Any]:
    """What is the same for every request."""
    return {
        "SERVER_SOFTWARE": server_software,
        "wsgi.version": (1, 0),
        "wsgi.errors": Errors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        # gunicorn's; to give no hint is allowed, a KeyError is not.
        "wsgi.early_hints": lambda headers: None,
    }


def build_environ(scope: Scope, base: dict[str, Any]) -> dict[str, Any]:
    """The environ without `wsgi.input`. Repeated headers are joined with commas, in their order."""
    raw_path: bytes = scope.get("raw_path") or quote_from_bytes(scope["path"].encode(), safe="/%").encode()
    query: bytes = scope.get("query_string", b"")
    root, path = split_root(scope.get("root_path", ""), unquote_to_bytes(raw_path).decode("latin-1"))
    environ = {
        **base,
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path,
        "QUERY_STRING": query.decode("latin-1"),
        "RAW_URI": scope.get("raw_uri") or _raw_uri(raw_path, query),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "asgi.scope": scope,
    }
    for name, value in scope["headers"]:
        key = _names.get(name) or _environ_name(name)
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    _add_addresses(environ, scope)
    return environ


def split_root(root: str, path: str) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO; a prefix counts only up to a slash, `/api` is none of `/apis`."""
    wsgi_root = root.encode().decode("latin-1").rstrip("/")
    if wsgi_root and path.startswith(wsgi_root) and path[len(wsgi_root) : len(wsgi_root) + 1] in ("", "/"):
        return wsgi_root, path[len(wsgi_root) :]
    return wsgi_root, path


def _raw_uri(raw_path: bytes, query: bytes) -> str:
    return (raw_path + b"?" + query if query else raw_path).decode("latin-1")


def _environ_name(name: bytes) -> str:
    key = name.decode("latin-1").upper().replace("-", "_")
    # By their own names: `content_length` is another header, which must not pass for this one.
    if name not in (b"content-type", b"content-length"):
        key = f"HTTP_{key}"
    if len(_names) >= MAX_REMEMBERED_NAMES:
        _names.clear()
    _names[name] = key
    return key


def _add_addresses(environ: dict[str, Any], scope: Scope) -> None:
    client = scope.get("client")
    if client is not None:
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1])
    else:  # a unix socket
        environ["REMOTE_ADDR"] = ""
    host, port = scope.get("server") or ("localhost", 80)
    if port is None:
        host, port = _address_from_host(environ)
    environ["SERVER_NAME"] = host
    environ["SERVER_PORT"] = str(port)


def _address_from_host(environ: dict[str, Any]) -> tuple[str, str]:
    """On a unix socket the Host header is the only address there is."""
    host, _, port = environ.get("HTTP_HOST", "").partition(":")
    default = {"http": "80", "https": "443"}.get(environ["wsgi.url_scheme"], "")
    return host, port or (default if host else "")
