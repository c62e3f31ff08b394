"""What gunicorn guarantees to an app and uvicorn does not, for both sides: the outermost ASGI middleware."""

import logging
import re
import sys
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal, NamedTuple

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("gateway.edge")

Proxy = IPv4Network | IPv6Network | Literal["unix"]

# Where `scope` has the peer's own (host, port), or None, after `client` was replaced by what a proxy said.
PEER = "gateway.peer"
# gunicorn's default for `forwarded_allow_ips`, and the unix sockets that it trusts besides.
GUNICORN_TRUSTS: tuple[Proxy, ...] = (ip_network("127.0.0.1"), ip_network("::1"), "unix")
# gunicorn's `secure_scheme_headers`: any other value, in whatever case, means http.
SECURE = {b"x-forwarded-proto": b"https", b"x-forwarded-protocol": b"ssl", b"x-forwarded-ssl": b"on"}
# With a longer name, a colon and the line's end, a header is looked at twice.
ORDINARY_NAME_BYTES = 64
MAX_REMEMBERED_NAMES = 512
MAX_REMEMBERED_PEERS = 1024

_BLANKS = b" \t"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEMES = {"http": ("http", "https"), "websocket": ("ws", "wss")}

# What a header can mean here, as bits. The last two, and those above them, are of headers that must not be repeated.
_LONG, _DROPPED, _UPGRADE, _EXPECT, _CODED, _SCHEME, _FORWARDED, _COOKIE, _LENGTH, _UNIQUE = (1 << n for n in range(10))
_KINDS = {
    b"upgrade": _UPGRADE,
    b"http2-settings": _DROPPED,
    b"expect": _EXPECT,
    b"transfer-encoding": _CODED,
    b"content-length": _LENGTH,
    **dict.fromkeys(SECURE, _SCHEME),
}
# RFC 9110 section 5.3 knows more such headers; gunicorn refuses these, and joins the others with commas.
_GUNICORN_UNIQUE = (b"host", b"content-type")


class Refusal(NamedTuple):
    status: int
    why: str


class Peers:
    """Those whose word about a client counts: networks, and `unix` for whoever can open a unix socket."""

    def __init__(self, trusted: Iterable[Proxy]) -> None:
        trusted = tuple(trusted)
        self._unix = "unix" in trusted
        self._networks = tuple(network for network in trusted if network != "unix")
        self._remembered: dict[str, bool] = {}

    def trust(self, scope: Scope) -> bool:
        client = scope[PEER] if PEER in scope else scope.get("client")
        if client is None:
            # A client that resets its connection has no address any more either. A server that has a port is TCP's.
            server = scope.get("server")
            return self._unix and server is not None and server[1] is None
        host = client[0]
        if host not in self._remembered:
            if len(self._remembered) >= MAX_REMEMBERED_PEERS:
                self._remembered.clear()
            address = parse_address(host)
            self._remembered[host] = address is not None and self.include(address)
        return self._remembered[host]

    def include(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


class Edge:
    """Cleans and refuses requests as gunicorn does; answers a refused one itself, and ends its connection.

    `trusted_proxies` may say which scheme a client used; without any, those may whom gunicorn trusts by default. With
    `client_address_from_proxy` they may also say what address it has; if not, that is left to the app's ProxyFix.
    `unique_headers` and `unique_cookies`: names that must not come twice, as the two sides would each take another one.
    The limits are gunicorn's by name and default, and in what it makes of a 0: any line, 32,768 headers, 8,190 bytes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_proxies: Sequence[Proxy] = (),
        client_address_from_proxy: bool = False,
        unique_headers: Iterable[str] = ("authorization",),
        unique_cookies: Iterable[str] = (),
        limit_request_line: int = 4094,
        limit_request_fields: int = 100,
        limit_request_field_size: int = 8190,
    ) -> None:
        self._app = app
        self._proxies = Peers(trusted_proxies)
        self._scheme_proxies = Peers(trusted_proxies or GUNICORN_TRUSTS)
        self._line_bytes = limit_request_line or sys.maxsize
        self._fields = limit_request_fields or 32768
        self._field_bytes = limit_request_field_size or 8190
        self._cookies = frozenset(name.encode() for name in unique_cookies)
        self._kinds = dict(_KINDS)
        if client_address_from_proxy:
            self._kinds[b"x-forwarded-for"] = _FORWARDED
        if self._cookies:
            self._kinds[b"cookie"] = _COOKIE
        unique = dict.fromkeys([*_GUNICORN_UNIQUE, *(name.lower().encode() for name in unique_headers)])
        for number, name in enumerate(unique):
            # May also be one of the above: the bits of both.
            self._kinds[name] = self._kinds.get(name, _kind_by_form(name)) | _UNIQUE << number
        self._known = len(self._kinds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (refusal := self._inspect(scope)) is None:
            await self._app(scope, receive, send)
        else:
            logger.warning("refused a request from %s: %s", scope.get("client"), refusal.why)
            await _answer(refusal.status, scope, receive, send)

    def _inspect(self, scope: Scope) -> Refusal | None:
        # One pass, and no more than a dictionary lookup for most headers: every request pays for this.
        headers = scope["headers"]
        if len(headers) > self._fields:
            return Refusal(431, f"{len(headers)} headers")
        kinds, ordinary_bytes = self._kinds, self._field_bytes - ORDINARY_NAME_BYTES
        seen = 0
        for name, value in headers:
            kind = kinds.get(name)
            if kind is None:
                kind = self._learn(name)
            if kind:
                if kind & seen >= _LENGTH:
                    return Refusal(400, f"{name!r} is repeated")
                seen |= kind
            if value:
                if value[-1] <= 32:  # blanks before a value are the parser's to strip, and it does
                    seen |= _DROPPED
                if len(value) > ordinary_bytes:
                    seen |= _LONG
        if scope["type"] == "http":
            length = _line_bytes(scope)
            if length > self._line_bytes:
                return Refusal(414, f"a request line of {length} bytes")
            if scope["scheme"] in ("ws", "wss"):  # another middleware has believed a proxy, word for word
                scope["scheme"] = "https" if scope["scheme"] == "wss" else "http"
        return self._look_closer(scope, seen) if seen & (_LENGTH - 1) else None

    def _learn(self, name: bytes) -> int:
        """The meaning of a name that has none of its own."""
        if len(name) > ORDINARY_NAME_BYTES - len(": \r\n"):
            return _kind_by_form(name) | _LONG
        if len(self._kinds) >= self._known + MAX_REMEMBERED_NAMES:
            for remembered in list(self._kinds)[self._known :]:
                del self._kinds[remembered]
        self._kinds[name] = kind = _kind_by_form(name)
        return kind

    def _look_closer(self, scope: Scope, seen: int) -> Refusal | None:
        if seen & _LONG:
            for name, value in scope["headers"]:
                if len(name) + len(value) + len(": \r\n") > self._field_bytes:
                    return Refusal(431, f"{name!r} has {len(value)} bytes")
        if seen & (_DROPPED | _UPGRADE):
            scope["headers"] = list(_clean(scope["headers"]))
        headers = scope["headers"]
        if seen & _EXPECT:
            for name, value in headers:
                if name == b"expect" and value.lower() != b"100-continue":
                    return Refusal(417, f"it expects {value!r}")
        if seen & _CODED and (refusal := _check_coding(scope, seen)) is not None:
            return refusal
        if seen & _COOKIE and (repeated := self._repeated_cookie(headers)):
            return Refusal(400, f"the cookie {repeated!r} is repeated")
        if seen & _SCHEME and self._scheme_proxies.trust(scope):
            secure = {_is_secure(scope, name, value) for name, value in headers if name in SECURE}
            if len(secure) > 1:
                return Refusal(400, "its headers contradict each other about https")
            scope["scheme"] = _SCHEMES[scope["type"]][secure.pop()]
        if seen & _FORWARDED and self._proxies.trust(scope):
            found = self._forwarded_client(headers)
            if found is not None:
                scope[PEER], scope["client"] = scope.get("client"), found
        return None

    def _repeated_cookie(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        cookies = b";".join(value for name, value in headers if name == b"cookie").split(b";")
        names = [cookie.partition(b"=")[0].strip() for cookie in cookies]
        return next((name for name in self._cookies if names.count(name) > 1), None)

    def _forwarded_client(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int] | None:
        """The nearest hop that is no trusted proxy. What stands left of it, or of anything unreadable, is hearsay."""
        found = None
        entries = b",".join(value for name, value in headers if name == b"x-forwarded-for").split(b",")
        for entry in reversed(entries):
            text = entry.decode("latin-1").strip()
            bracketed = re.fullmatch(r"\[(.*)\](?::\d+)?", text) or re.fullmatch(r"([^:]*):\d+", text)
            address = parse_address(bracketed[1] if bracketed else text)
            if address is None:
                break
            found = str(address), 0
            if not self._proxies.include(address):
                break
        return found


class ControlCharacterGuard:
    """For the async side alone: no path with a control character in it exists there.

    In Starlette's patterns `$` matches before a final newline, so that `/admin%0A` would be `/admin` to a route and not
    to a middleware. Flask takes such paths for what they are, and is left to it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].isprintable() or not _CONTROL.search(scope["path"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        else:
            await _answer(404, scope, receive, send)


def parse_proxy(text: str) -> Proxy:
    """An address, a network or `unix`. Raises ValueError that says what is wrong with it."""
    if text == "unix":
        return "unix"
    if text == "*" or (network := ip_network(text)).prefixlen == 0:
        raise ValueError(
            f"{text} would let every client say what its address is and whether it came by https: "
            "name the addresses or networks of your proxies, and 'unix' for a unix socket"
        )
    return network


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address. An IPv4 address in IPv6's clothes, as a dual-stack socket has it, is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:  # any text at all
            return None
        return address.ipv4_mapped or address
    return address


def _kind_by_form(name: bytes) -> int:
    # In a WSGI environ, `X_User` and `X-User` are one.
    return _DROPPED if b"_" in name else 0


def _line_bytes(scope: Scope) -> int:
    target = scope.get("raw_uri")
    if target is None:
        query = scope.get("query_string", b"")
        length = len(scope.get("raw_path") or scope["path"]) + len(query) + bool(query)
    else:
        length = len(target)
    return len(scope["method"]) + length + len("  HTTP/1.1")


def _clean(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        value = value.strip(_BLANKS)
        if b"_" not in name and name != b"http2-settings" and not (name == b"upgrade" and value.lower() == b"h2c"):
            yield name, value


def _check_coding(scope: Scope, seen: int) -> Refusal | None:
    """Framing that two servers could read in two ways (RFC 9112 section 6.1); nothing but `chunked` is understood."""
    codings = [value.lower() for name, value in scope["headers"] if name == b"transfer-encoding"]
    if scope["http_version"] == "1.0" or seen & _LENGTH or len(codings) > 1:
        return Refusal(400, "its body may be read in two ways")
    if codings != [b"chunked"]:
        return Refusal(501, f"the transfer coding {codings[0]!r}")
    return None


def _is_secure(scope: Scope, name: bytes, value: bytes) -> bool:
    return value == SECURE[name] or (scope["type"] == "websocket" and value == b"wss")


async def _answer(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    body = HTTPStatus(status).phrase.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    if scope["type"] == "http":
        await send(start)
        await send({"type": "http.response.body", "body": body})
        return
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await send({**start, "type": "websocket.http.response.start"})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close"})
