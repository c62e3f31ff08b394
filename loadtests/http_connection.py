"""One keep-alive HTTP/1.1 connection to a server on this machine, cheap enough for a load."""

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

from httptools import HttpParserError, HttpResponseParser

HOST = "127.0.0.1"
IDLE_S = 1.0
"""A server may close a connection that was idle, even while the next request is on its way. None of those measured
here gives up sooner than this: what they close in use is a failure."""


class ExchangeError(Exception):
    """A request without a whole answer."""


class ClosedEarlyError(ExchangeError):
    """The server closed the connection instead of beginning an answer."""


@dataclass(slots=True)
class Answer:
    """Header names in lower case, in the order of the answer; times as of `time.perf_counter`."""

    sent_at: float
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    answered_at: float = 0.0

    @property
    def latency_s(self) -> float:
        return self.answered_at - self.sent_at

    def header(self, name: bytes) -> bytes | None:
        """The first of that name (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


class Connection:
    """One request at a time. Connects when needed: at first, and when the server has closed it between two requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._protocol: AnswerProtocol | None = None
        self._used_at = 0.0

    async def exchange(self, request: bytes) -> Answer:
        """The whole answer to a whole request (of any method but HEAD). Raises ExchangeError; waits without limit."""
        protocol = self._protocol
        if protocol is not None and protocol.excess is not None:
            self.close()
            self._protocol = None
            raise protocol.excess
        if protocol is None or protocol.is_closed:
            answer = await (await self._connect()).exchange(request)
        else:
            try:
                answer = await protocol.exchange(request)
            except ClosedEarlyError:
                if perf_counter() - self._used_at < IDLE_S:
                    raise
                answer = await (await self._connect()).exchange(request)
        self._used_at = answer.answered_at
        return answer

    def close(self) -> None:
        if self._protocol is not None:
            self._protocol.close()

    async def _connect(self) -> "AnswerProtocol":
        loop = asyncio.get_running_loop()
        try:
            _, self._protocol = await loop.create_connection(AnswerProtocol, HOST, self._port)
        except OSError as error:
            raise ExchangeError(f"cannot connect: {error}") from error
        return self._protocol


class AnswerProtocol(asyncio.Protocol):
    """Parses answers whose end is told by Content-Length, by chunks, or by a status that has no body."""

    def __init__(self) -> None:
        self.is_closed = False
        self.excess: ExchangeError | None = None
        """What is wrong with that which followed an answer that was complete."""
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._answer = Answer(0.0)
        self._body: list[bytes] = []
        self._has_begun = False

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        assert self._transport is not None
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        self._has_begun = False
        self._body = []
        self._answer = Answer(perf_counter())
        self._transport.write(request)
        return waiter

    def close(self) -> None:
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(ExchangeError(f"not an HTTP answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        how = "closed the connection" if exc is None else f"broke the connection ({exc})"
        if self._has_begun:
            self._fail(ExchangeError(f"the server {how} after {sum(map(len, self._body))} bytes of the body"))
        elif self._waiter is not None:
            self._fail(ClosedEarlyError(f"the server {how} instead of answering"))

    # What HttpResponseParser calls

    def on_message_begin(self) -> None:
        self._has_begun = True
        if self._waiter is None:
            self._fail(ExchangeError("the server sent more than an answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._has_begun = False
        if not self._parser.should_keep_alive():
            self.close()
        if waiter is None or waiter.done():
            return
        answer = self._answer
        answer.status = self._parser.get_status_code()
        answer.body = b"".join(self._body)
        answer.answered_at = perf_counter()
        waiter.set_result(answer)

    def _fail(self, error: ExchangeError) -> None:
        waiter, self._waiter = self._waiter, None
        self._has_begun = False
        if waiter is None:
            self.excess = self.excess or error
            return
        self.close()
        if not waiter.done():
            waiter.set_exception(error)
