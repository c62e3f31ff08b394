"""The bridge: a WSGI app behind an ASGI interface, so that the app cannot tell it was mounted.

Each request has a coroutine on the event loop and a job in the thread pool. What the app writes goes into a queue that
the coroutine empties; what the client sends is fed into `wsgi.input`. Either end can fail at any time: the other one
learns of it at its next step, the response iterable is always closed in the thread that iterated it, and no thread ever
waits for a loop that has stopped listening.
"""

import asyncio
import contextvars
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi import WSGIResponder
from starlette.types import Message, Receive, Scope, Send

from gateway.http_protocol import REASON
from gateway.thread_pool import ThreadPool
from gateway.wsgi_environ import base_environ, build_environ
from gateway.wsgi_input import ClientGoneError, Input, empty_input

logger = logging.getLogger("gateway.bridge")

# Where the worker thread leaves the time (`time.perf_counter`) at which the app was called.
CALLED_AT = "gateway.called_at"

# What may lie unread in `wsgi.input` before no more is asked for, until the app answers and from then on.
READ_AHEAD_BYTES = 256 * 1024
ANSWERING_READ_AHEAD_BYTES = 16 * 1024 * 1024
# With that much unread: how long until one message more is read, to see whether the client is still there; from then on
# twice as long each time, so that little is added to what lies unread already.
LOOK_AGAIN_S = 1.0
# What a thread may be ahead of its client; then it waits, as it would for a full socket buffer.
HIGH_WATER_BYTES = 1024 * 1024
# One message to the server is at most about this long.
MESSAGE_BYTES = 512 * 1024

# RFC 9110 section 7.6.1, and gunicorn's list: they describe a connection, which is not the app's.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
        # The server says these, once.
        "server",
        "date",
    }
)
_NO_BODY = empty_input()
_STATUS = re.compile(r"([0-9]{3})(?: ([ \t\x21-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(r"[ \t]*([0-9]+)[ \t]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")

# Word for word gunicorn's page, down to the indented empty line.
_ERROR_PAGE = b"""<html>
  <head>
    <title>Internal Server Error</title>
  </head>
  <body>
    <h1><p>Internal Server Error</p></h1>
%s
  </body>
</html>
""" % (b" " * 4)


class _End:
    """The last item of a response's queue: what the app raised, and whether the response was `complete` by then."""

    __slots__ = ("complete", "error")

    def __init__(self, error: BaseException | None = None, *, complete: bool = True) -> None:
        self.error = error
        self.complete = complete

    def take_error(self) -> Exception:
        """For the loop to raise: not SystemExit and its like, which would end it where no server catches them."""
        error, self.error = self.error, None  # else a cycle, through the traceback's frames
        if isinstance(error, Exception):
            return error
        wrapped = RuntimeError(f"the legacy app raised {error!r}")
        wrapped.__cause__ = error
        return wrapped


class Bridge(WSGIMiddleware):
    """Runs a WSGI app in `threads` threads of its own; at most `queue` more requests wait for one of them."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        threads: int,
        queue: int,
        multiprocess: bool = False,
        server_software: str = "gunicorn",
    ) -> None:
        # Not a2wsgi's __init__, which makes an executor that joins its threads at exit and has no bound.
        self.app = app
        self.pool = ThreadPool(threads, queue)
        self.base_environ = base_environ(multiprocess=multiprocess, server_software=server_software)

    @property
    def saturated(self) -> bool:
        """Whether every thread is busy and the queue is full."""
        return self.pool.saturated

    @property
    def busy(self) -> int:
        """Threads that run the app now."""
        return self.pool.busy

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return self.pool.waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if scope["type"] == "http":
            await Responder(self, scope, receive, send).run()
        else:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]

    def close(self) -> None:
        self.pool.close()


class Responder(WSGIResponder):
    """One request and its response."""

    def __init__(self, bridge: Bridge, scope: Scope, receive: Receive, send: Send) -> None:
        # Not a2wsgi's __init__: its queue deadlocks the thread when nobody empties it any more.
        self.app = bridge.app
        self._bridge = bridge
        self._scope = scope
        self._receive = receive
        self._send_message = send
        self.loop = asyncio.get_running_loop()
        self._input = _NO_BODY
        self._reading: asyncio.Task[None] | None = None
        self._room_to_read: asyncio.Event | None = None
        # From the thread to the loop
        self._queue: deque[bytes | _End] = deque()
        self._wake_is_due = False
        self._woken: asyncio.Future[None] = self.loop.create_future()
        # Only the thread counts `_posted`, only the loop `_sent`: the difference is what the client has yet to take
        self._posted = 0
        self._sent = 0
        self._room_to_write: threading.Event | None = None
        # From the loop to the thread: why to stop, and that nobody will take what it leaves in the queue
        self._gone: str | None = None
        self._abandoned = False
        # What `receive` raised
        self._unreadable: Exception | None = None
        # The PEP 3333 state machine, the thread's
        self._start: Message | None = None
        self._headers_sent = False
        self._length_left: int | None = None
        self._started_on_loop = False

    async def run(self) -> None:
        """Returns when the app's iterable is closed, raises what the app raised after its headers were sent.

        Not before, if the client leaves: a server that stops waits for requests, and the app's work must be among them.
        """
        environ = build_environ(self._scope, self._bridge.base_environ)
        if _may_have_body(environ):
            self._input = Input(self._ask_for_more)
        environ["wsgi.input"] = self._input
        self._bridge.pool.submit(partial(contextvars.Context().run, self._work, environ))
        if self._input is not _NO_BODY:
            self._read_on()
        try:
            await self._forward()
        except BaseException as exc:
            self._stop_thread(f"nobody listens: {exc!r}")
            self._abandoned = True
            self._log_unheard()
            raise
        finally:
            if self._reading is not None:
                self._reading.cancel()
            # Both have references to this object: it would live until the garbage is collected.
            self._reading, self._input = None, _NO_BODY

    # --- on the event loop -------------------------------------------------------------------------------------------

    async def _forward(self) -> None:
        end = None
        while end is None:
            await self._woken
            self._woken = self.loop.create_future()
            chunks, end = self._take()
            if self._gone is not None:
                continue  # the thread learns of it, and closes the iterable by itself
            if end is not None and end.error is not None:
                await self._fail(end, chunks)
                return
            await self._send_chunks(chunks, last=end is not None)
            if end is None and self._reading is None:
                self._read_on()  # a response that takes longer: from now on it matters whether the client stays
        if end.error is not None:
            _log(end.error)
        if self._unreadable is not None:
            raise self._unreadable

    def _take(self) -> tuple[list[bytes], _End | None]:
        chunks: list[bytes] = []
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, _End):
                return chunks, item
            chunks.append(item)
        return chunks, None

    async def _send_chunks(self, chunks: list[bytes], *, last: bool) -> None:
        if not self._started_on_loop:
            self._started_on_loop = True
            if self._room_to_read is not None:
                self._room_to_read.set()
            assert self._start is not None
            await self._send_message(self._start)
        messages = list(_coalesce(chunks)) or [b""]
        for number, body in enumerate(messages, 1):
            is_last = last and number == len(messages)
            if body or is_last:
                await self._send_message({"type": "http.response.body", "body": body, "more_body": not is_last})
                self._sent += len(body)
                self._make_room()

    def _make_room(self) -> None:
        if self._room_to_write is not None and self._posted - self._sent < HIGH_WATER_BYTES:
            self._room_to_write.set()

    async def _fail(self, end: _End, chunks: list[bytes]) -> None:
        """As gunicorn: a page of its own if nothing was sent, else the connection breaks where the app did."""
        assert end.error is not None
        if self._headers_sent:
            await self._send_chunks(chunks, last=end.complete)
            raise end.take_error()
        _log(end.error)
        self._started_on_loop = True
        headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(_ERROR_PAGE))]
        await self._send_message(
            {"type": "http.response.start", "status": 500, "headers": [(b"connection", b"close"), *headers]}
        )
        await self._send_message({"type": "http.response.body", "body": _ERROR_PAGE})

    def _read_on(self) -> None:
        self._room_to_read = asyncio.Event()
        self._reading = self.loop.create_task(self._read(self._room_to_read))

    async def _read(self, room: asyncio.Event) -> None:
        """Feed the input, then wait for the client to leave."""
        look_again_s = LOOK_AGAIN_S
        more = True
        try:
            while (message := await self._receive())["type"] != "http.disconnect":
                if not more:
                    return  # a middleware that repeats the body it has kept: it will never say that the client left
                more = message.get("more_body", False)
                if self._input is not _NO_BODY:
                    self._input.feed(message.get("body", b""), last=not more)
                if not await self._has_room(room, look_again_s):
                    look_again_s *= 2
        except Exception as exc:
            self._unreadable = exc
            self._stop_thread(f"the request cannot be received: {exc!r}")
        else:
            self._stop_thread("the client closed the connection")

    async def _has_room(self, room: asyncio.Event, timeout_s: float) -> bool:
        """Returns when more may be read; False if there is no room for it, but it is time to look for the client."""
        while self._input.unread_bytes >= self._read_ahead_bytes:
            room.clear()
            if self._input.unread_bytes >= self._read_ahead_bytes:
                try:
                    async with asyncio.timeout(timeout_s if self._started_on_loop else None):
                        await room.wait()
                except TimeoutError:
                    return False
        return True

    @property
    def _read_ahead_bytes(self) -> int:
        # Reading is also how to learn that the client has left. Once the app answers, that matters more, and an app
        # that answers without reading the body may never make room.
        return ANSWERING_READ_AHEAD_BYTES if self._started_on_loop else READ_AHEAD_BYTES

    def _stop_thread(self, reason: str) -> None:
        """Have the thread's next read or write raise. It may be in neither: then it ends when the app's code does."""
        self._gone = reason
        self._input.fail(reason)
        if self._room_to_write is not None:
            self._room_to_write.set()

    def _wake(self) -> None:
        self._wake_is_due = False
        if not self._woken.done():
            self._woken.set_result(None)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _work(self, environ: dict[str, Any]) -> None:
        self._scope[CALLED_AT] = time.perf_counter()
        complete = False
        try:
            iterable = self.app(environ, self.start_response)  # type: ignore[arg-type]
            try:
                for chunk in iterable:
                    self.write(chunk)
                if not self._headers_sent:
                    self.write(b"")
                complete = True
            finally:
                close = getattr(iterable, "close", None)
                if close is not None:
                    close()
        except ClientGoneError:
            self._post(_End())
        except BaseException as exc:
            # Not only Exception: SystemExit would end this thread, and the request would wait for ever.
            self._post(_End(exc, complete=complete))
        else:
            self._post(_End())
        if self._abandoned:
            self._log_unheard()

    def _log_unheard(self) -> None:
        """Log what the app raised, if it did so when nobody waited for it any more.

        Called by the thread when it is done and by the loop when it gives up: whoever is later finds it.
        """
        with suppress(IndexError):  # both may be here at the same time
            while True:
                item = self._queue.popleft()
                if isinstance(item, _End) and item.error is not None:
                    _log(item.error)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333: may be called again with `exc_info`, which replaces what was not sent yet and else is raised."""
        if exc_info:
            try:
                if self._headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a cycle through the traceback's frames
        elif self._start is not None:
            raise AssertionError("start_response was called before, and without exc_info")
        self._length_left = None
        self._start = self._make_start(status, headers)
        return self.write

    def _make_start(self, status: str, headers: list[tuple[str, str]]) -> Message:
        match = _STATUS.fullmatch(status)
        if match is None:
            raise ValueError(f"invalid status {status!r}: write it as '200 OK'")
        code = int(match[1])
        if code < 200:
            raise ValueError(f"status {code} cannot be an answer's: another one must follow it")
        bodiless = code in (204, 304) or self._scope["method"] == "HEAD"
        encoded = []
        for name, value in headers:
            lower = name.lower()
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the response header {name!r} has characters that no header may have")
            if lower in HOP_BY_HOP:
                continue
            if lower == "content-length":
                if code in (204, 304):
                    continue
                before, self._length_left = self._length_left, _parse_length(value)
                if before is not None:
                    if before != self._length_left:
                        raise ValueError(f"two lengths of one body: {before} and {value}")
                    continue
            encoded.append((lower.encode("latin-1"), value.strip(" \t").encode("latin-1")))
        if bodiless:
            self._length_left = 0
        return {"type": "http.response.start", "status": code, "headers": encoded, REASON: match[2] or ""}

    def write(self, chunk: bytes) -> None:
        """Send a piece of the body, and the headers before the first one. Waits while the client is far behind."""
        if self._gone is not None:
            raise ClientGoneError(self._gone)
        if self._start is None:
            raise AssertionError("the app returned a body without calling start_response")
        if not isinstance(chunk, bytes):
            raise TypeError(f"a WSGI app must write bytes, not {type(chunk).__name__}")
        if self._length_left is not None:
            chunk = chunk[: self._length_left]
            self._length_left -= len(chunk)
        if chunk or not self._headers_sent:
            self._headers_sent = True
            self._posted += len(chunk)
            self._post(chunk)
            if self._posted - self._sent >= HIGH_WATER_BYTES:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        if self._room_to_write is None:
            self._room_to_write = threading.Event()
        while self._posted - self._sent >= HIGH_WATER_BYTES and self._gone is None:
            self._room_to_write.clear()
            if self._posted - self._sent >= HIGH_WATER_BYTES and self._gone is None:
                self._room_to_write.wait()

    def _post(self, item: bytes | _End) -> None:
        self._queue.append(item)
        # In this order, and the loop's in the other one, so that nothing is left lying: while a wake-up is under way
        # whatever is posted meanwhile goes with it, and a small answer crosses to the loop once.
        if not self._wake_is_due:
            self._wake_is_due = True
            self._call_on_loop(self._wake)

    def _ask_for_more(self) -> None:
        room = self._room_to_read
        if room is not None and not room.is_set() and self._input.unread_bytes < READ_AHEAD_BYTES:
            self._call_on_loop(room.set)

    def _call_on_loop(self, callback: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: the process ends
            self._gone = "the server has stopped"


def _may_have_body(environ: dict[str, Any]) -> bool:
    if not environ["SERVER_PROTOCOL"].startswith("HTTP/1."):
        return True  # later versions end a body without announcing it
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"


def _parse_length(value: str) -> int:
    match = _LENGTH.fullmatch(value)
    if match is None:
        raise ValueError(f"invalid Content-Length {value!r}")
    return int(match[1])


def _log(error: BaseException) -> None:
    logger.error("the legacy app raised an exception", exc_info=error)


def _coalesce(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """Small pieces joined; large ones as they are."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        if size + len(chunk) > MESSAGE_BYTES and pending:
            yield b"".join(pending)
            pending, size = [], 0
        pending.append(chunk)
        size += len(chunk)
    if pending:
        yield b"".join(pending)
