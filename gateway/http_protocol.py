"""HTTP/1 on the wire, made over from uvicorn's httptools protocol where it could be told from gunicorn's.

The parser is llhttp through httptools, without its leniencies but for one of uvicorn's: data behind a connection's last
request is no error. What llhttp refuses (doubtful framing, bare LF, folded lines) stays refused. The tests compare with
gunicorn what becomes of doubtful bytes, and pin the versions of httptools and of uvicorn's code that this holds for.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http.client import responses
from typing import Any
from urllib.parse import unquote, urlsplit

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

# The key of an `http.response.start` message under which an app may name the reason phrase (a str).
REASON = "gateway.reason"
# Of one head, or of anything else in a request that is no body. gunicorn's limits come to 819,204 (100 x 8,192 and 4).
MAX_HEAD_BYTES = 1024 * 1024
# What is read, and thrown away, of a body that nobody wanted: a client that sends before it looks has that under way.
DRAIN_BYTES = 16 * 1024 * 1024
# gunicorn's (`util.close_graceful`).
LINGER_S = 2.0
MAX_REMEMBERED_NAMES = 512

# What gunicorn takes for a method, and llhttp only if it is one of those it knows.
_METHOD = re.compile(rb"(?:\r\n)?([!$%&'*+\-.^_`|~0-9A-Z]{3,20}) ")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_INVALID_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_REASON = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")
# Response headers that the server has a say in.
_SERVERS_TOO = frozenset({b"content-length", b"transfer-encoding", b"connection", b"server", b"date"})
# Request headers that say how the body is sent.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_PERSISTENCE = frozenset({b"close", b"keep-alive"})

_names: dict[bytes, bytes] = {}
_rendered: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """The parser has nothing against this request, but no app must get it."""


class _Nowhere(list[tuple[bytes, bytes]]):
    """Where trailers go: uvicorn would append them to the headers, past whatever a proxy took out of those."""

    def append(self, item: tuple[bytes, bytes], /) -> None:
        pass


_NOWHERE = _Nowhere()


class Cycle(RequestResponseCycle):
    """One request and its answer. The answer is written in the gateway's way, the request read in uvicorn's."""

    # Of the answer's body: how much is missing (None: there is no telling), and whether it is left out.
    _missing: int | None = None
    _bodiless = False

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._send_head(message)
        elif not self.response_complete:
            self._send_body(message)
        else:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}: the response is complete.")

    def _send_head(self, message: Any) -> None:
        if message["type"] != "http.response.start":
            raise _unexpected(message, "http.response.start")
        status, version = message["status"], self.scope["http_version"]
        lines = [_status_line(version, status, message.get(REASON))]
        length, close = self._add_headers(lines, message.get("headers", ()), status)
        # Nothing has changed so far, so that an invalid answer becomes a 500.
        self.response_started = True
        self._missing = length
        self._bodiless = status in (204, 304) or self.scope["method"] == "HEAD"
        self.chunked_encoding = length is None and version == "1.1" and not self._bodiless
        if close or (version == "1.0" and length is None and not self._bodiless):
            self.keep_alive = False
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            # Whether an unfinished body still comes is the client's to choose: what follows may be either.
            self.keep_alive = self.keep_alive and not self.more_body
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        elif version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        if self.access_log:
            self._log(status)
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))

    def _add_headers(
        self, lines: list[bytes], headers: Iterable[tuple[bytes, bytes]], status: int
    ) -> tuple[int | None, bool]:
        """The app's headers and the server's, in pieces. Returns the body's length and whether the connection ends."""
        length: int | None = None
        close = False
        own: list[bytes] = []
        for name, value in headers:
            name = _names.get(name) or _lower_name(name)
            if _INVALID_IN_VALUE.search(value):
                raise RuntimeError(f"Invalid value of the HTTP header {name!r}.")
            if name in _SERVERS_TOO:
                if name == b"transfer-encoding" or (name == b"content-length" and status == 204):
                    continue
                if name == b"content-length":
                    length = _parse_length(value, length)
                elif name == b"connection":
                    tokens = {token.strip() for token in value.lower().split(b",")}
                    close = close or b"close" in tokens
                    if tokens <= _PERSISTENCE:
                        continue
                else:
                    own.append(name)
            lines += (name, b": ", value, b"\r\n")
        lines.append(_default_lines(self.default_headers, own))
        return length, close

    def _send_body(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            raise _unexpected(message, "http.response.body")
        body: bytes = message.get("body", b"")
        last = not message.get("more_body", False)
        if self._bodiless:
            self._missing = None
        elif self.chunked_encoding:
            chunk = (b"%x\r\n" % len(body), body, b"\r\n") if body else ()
            self.transport.write(b"".join((*chunk, b"0\r\n\r\n") if last else chunk))
        else:
            if self._missing is not None:
                if len(body) > self._missing:
                    raise RuntimeError("Response content longer than Content-Length")
                self._missing -= len(body)
            self.transport.write(body)
        if last:
            if self._missing:
                raise RuntimeError("Response content shorter than Content-Length")
            self.response_complete = True
            self.message_event.set()
            self.on_response()

    def _log(self, status: int) -> None:
        scope = self.scope
        what = get_client_addr(scope), scope["method"], get_path_with_query_string(scope), scope["http_version"]
        self.access_logger.info('%s - "%s %s HTTP/%s" %d', *what, status)


class GatewayHttpProtocol(HttpToolsProtocol):
    """A connection; `uvicorn.Config(http=GatewayHttpProtocol)`, or this name after `uvicorn --http`.

    Adds `scope["raw_uri"]`: the request target as it was received.
    """

    # Not in its dictionary: with more than 30 keys there, CPython would look every attribute up the slow way.
    __slots__ = ("_deaf", "_drained", "_ended", "_method", "_overhead", "_refused", "_replayed", "_running")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The request that is being answered; `cycle` is the last one whose head has come.
        self._running: RequestResponseCycle | None = None
        # The scope of the last request that has come in whole: `scope` itself between requests.
        self._ended: Any = None
        # What the parser was not given as it was received: a method that it does not know, headers that stop it.
        self._method: str | None = None
        self._replayed: list[tuple[bytes, bytes]] | None = None
        # Bytes received since something was made of them.
        self._overhead = 0
        self._drained = 0
        # Nothing more is parsed; what is to be answered, when it is the refused request's turn.
        self._deaf = False
        self._refused: int | None = None

    # --- what the client sends ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drain(len(data))
            return
        self._unset_keepalive_if_required()
        before, between = self.scope, self.scope is self._ended
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as stop:
            self._go_on(stop, data, at_start=between and self._ended is before)
        if self.scope is not self._ended and not self._deaf:
            self._overhead += len(data)
            if self._overhead > MAX_HEAD_BYTES:
                self._refuse(414 if len(self.url) > MAX_HEAD_BYTES // 2 else 431, "it does not end")

    def _go_on(self, stop: Exception, piece: bytes | memoryview, *, at_start: bool) -> None:
        """The parser has stopped in `piece`; `at_start`: in a request that begins with the first byte there."""
        while True:
            try:
                if isinstance(stop, httptools.HttpParserUpgrade):
                    pending = self._upgrade(memoryview(piece)[stop.args[0] :])
                else:
                    pending = [self._replace_method(stop, piece, at_start)]
                at_start = False
                while pending:
                    piece = pending.pop()
                    self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as again:
                stop = again
            except (httptools.HttpParserError, Refusal) as error:
                cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
                self._refuse(400, str(cause or error))
                return

    def _replace_method(self, error: Exception, data: bytes | memoryview, at_start: bool) -> bytes | memoryview:
        """The request with a method that llhttp knows, in place of one that it does not; or else raises the error."""
        # Elsewhere than at the start there is no telling where the request began.
        match = _METHOD.match(data) if at_start and isinstance(error, httptools.HttpParserInvalidMethodError) else None
        if match is None:
            raise error
        self._method = match[1].decode("ascii")
        self._start_parser()
        return b"POST" + data[match.end(1) :]

    def on_headers_complete(self) -> None:
        method = self._method or self.parser.get_method().decode("ascii")
        self._method = None
        self.scope["method"] = method
        self._overhead = self._drained = 0
        if self.parser.should_upgrade():
            return  # `_upgrade` goes on, once the parser has stopped
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refusal(f"HTTP/{version}")
        self.scope["http_version"] = version
        self._set_target(method)
        cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.cycle = cycle
        if self._replayed is not None:
            self.scope["headers"], self._replayed = self._replayed, None
        self.headers = _NOWHERE
        app = self.app if self.limit_concurrency is None else self._app_within_limit(self.limit_concurrency)
        if self._running is None or self._running.response_complete:
            self._running = cycle
            self._start_asgi_task(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def _set_target(self, method: str) -> None:
        """RFC 9112 section 3.2. A fragment is none of the server's business; gunicorn drops it too."""
        url = self.url
        path, _, query = (url.partition(b"#")[0] if b"#" in url else url).partition(b"?")
        if not path.startswith(b"/") and not (url == b"*" and method == "OPTIONS"):
            if b"://" not in url:
                raise Refusal("a request target that is none of this method's")
            path = urlsplit(url).path or b"/"
        text = path.decode("ascii")
        scope = self.scope
        scope["path"] = self.root_path + (unquote(text) if "%" in text else text)
        scope["raw_path"] = self.root_path.encode("ascii") + path
        scope["query_string"] = query
        scope["raw_uri"] = url.decode("latin-1")  # type: ignore[typeddict-unknown-key]

    def _app_within_limit(self, limit: int) -> Any:
        if len(self.connections) < limit and len(self.tasks) < limit:
            return self.app
        self.logger.warning("Exceeded concurrency limit.")
        return service_unavailable

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        if self.cycle.response_complete:
            self._drain(len(body))
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._ended = self.scope
        if not self.parser.should_upgrade():
            self.cycle.more_body = False
            self.cycle.message_event.set()

    # --- upgrades ----------------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        # Asked while the parser runs, of requests that it stops after: `_upgrade` sees to all of them.
        return True

    def _upgrade(self, rest: memoryview) -> list[bytes | memoryview]:
        """What to parse next, last first. httptools stops at any `Upgrade` without having looked for a body.

        An upgrade that is no WebSocket's is ignored, as RFC 9110 section 7.8 allows: the request is parsed once more,
        by a parser that is not told of it (Kludex/uvicorn#2722, MagicStack/httptools#124).
        """
        if self.scope["method"] == "CONNECT":
            raise Refusal("CONNECT: this is no proxy")
        if self._is_websocket():
            self.handle_websocket_upgrade()
            return []
        head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [name + b": " + value for name, value in self.headers if name in _FRAMING]
        head.append(b"connection: keep-alive" if self.parser.should_keep_alive() else b"connection: close")
        self._replayed = self.headers
        self._method = self.scope["method"]
        self._start_parser()
        return [rest, b"\r\n".join([*head, b"", b""])]

    def _is_websocket(self) -> bool:
        """RFC 6455 section 4.1. One behind a request that still has to be answered is too early: it is no upgrade."""
        headers = dict(self.headers)
        return (
            self.ws_protocol_class is not None
            and headers.get(b"upgrade", b"").strip(b" \t").lower() == b"websocket"
            and self.scope["method"] == "GET"
            and self.parser.get_http_version() == "1.1"
            and b"transfer-encoding" not in headers
            and headers.get(b"content-length", b"0").strip(b" \t") == b"0"
            and (self._running is None or self._running.response_complete)
        )

    def _start_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    # --- whose turn it is, and how a connection ends -----------------------------------------------------------------

    def on_response_complete(self) -> None:
        assert self._running is not None
        self.server_state.total_requests += 1
        if not self._running.keep_alive:
            self._hang_up()
        elif not self.transport.is_closing():
            self.flow.resume_reading()
            self._take_next()

    def _take_next(self) -> None:
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
        elif self._refused is not None:
            self._answer(self._refused)
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, status: int, why: str) -> None:
        """Answer in the refused request's turn, and be done with the connection."""
        self.logger.warning("Invalid HTTP request received: %s", why)
        self._deaf = True
        running = self._running
        body_broke = running is not None and self.cycle.more_body
        if running is None or running.response_complete:
            if body_broke:
                self._hang_up()
            else:
                self._answer(status)
        elif body_broke and running is self.cycle:
            running.disconnected = True
            running.message_event.set()
            if running.response_started:
                self.transport.close()
            else:
                self._answer(status)
        else:
            if body_broke:
                self.pipeline.popleft()
            self._refused = status

    def _answer(self, status: int) -> None:
        text = responses[status].encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        lines = _default_lines(self.server_state.default_headers)
        self.transport.write(b"".join((_status_line("1.1", status, None), lines, head, text)))
        self._hang_up()

    def _hang_up(self) -> None:
        """Close, but not on a client that is still sending: a reset would overtake the answer (RFC 9112, 9.6)."""
        self._deaf = True
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self.scope is self._ended and not self.flow.read_paused:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_S, self.timeout_keep_alive_handler)

    def _drain(self, size: int) -> None:
        self._drained += size
        if self._drained > DRAIN_BYTES:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        # uvicorn tells the last request only, not the one that is being answered while others wait behind it.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()


@lru_cache(maxsize=256)
def _status_line(version: str, status: int, reason: str | None) -> bytes:
    if not 200 <= status <= 999:
        raise RuntimeError(f"Invalid HTTP status {status}: an answer's is between 200 and 999.")
    if reason is None:
        reason = responses.get(status, "")
    if not _REASON.fullmatch(reason):
        raise RuntimeError(f"Invalid reason phrase {reason!r}.")
    return f"HTTP/{version} {status} {reason}\r\n".encode("latin-1")


def _default_lines(headers: list[tuple[bytes, bytes]], own: Sequence[bytes] = ()) -> bytes:
    """The server's own headers, but for those that the app has set."""
    global _rendered
    if own:
        return b"".join(b"%s: %s\r\n" % (name, value) for name, value in headers if name not in own)
    if _rendered[0] is not headers:  # uvicorn makes a new list once a second
        _rendered = (headers, b"".join(b"%s: %s\r\n" % item for item in headers))
    return _rendered[1]


def _lower_name(name: bytes) -> bytes:
    if not _NAME.fullmatch(name):
        raise RuntimeError(f"Invalid HTTP header name {name!r}.")
    if len(_names) >= MAX_REMEMBERED_NAMES:
        _names.clear()
    _names[name] = lower = name.lower()
    return lower


def _parse_length(value: bytes, before: int | None) -> int:
    if before is not None or not value.isdigit():
        raise RuntimeError(f"Invalid or repeated Content-Length {value!r}.")
    return int(value)


def _unexpected(message: Any, kind: str) -> RuntimeError:
    return RuntimeError(f"Expected ASGI message {kind!r}, but got {message['type']!r}.")
