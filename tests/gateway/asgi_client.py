"""A server and its client in one, for tests of the bridge: each message that passes, and WSGI apps to answer."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

from starlette.types import Message

from gateway.bridge import Bridge
from tests.gateway.apps import http_scope

Environ = dict[str, Any]
App = Callable[[Environ, Any], Any]
MakeBridge = Callable[..., Bridge]

TIMEOUT_S = 5.0
DISCONNECT: Message = {"type": "http.disconnect"}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def start(status: int = 200, *headers: tuple[bytes, bytes], reason: str = "OK") -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), "gateway.reason": reason}


def part(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Client:
    """What a server stands for: sends what it is given, and takes what comes as long as `takes` is set."""

    def __init__(self, *requests: Message) -> None:
        self.incoming: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self.received: list[Message] = []
        self.asked = 0
        self.takes = asyncio.Event()
        self.takes.set()
        self.error: Exception | None = None
        for message in requests or (body(),):
            self.incoming.put_nowait(message)

    async def receive(self) -> Message:
        self.asked += 1
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        if self.error is not None:
            raise self.error
        self.received.append(message)

    @property
    def data(self) -> bytes:
        return b"".join(message["body"] for message in self.received[1:])

    @property
    def complete(self) -> bool:
        """Whether the last message, and no other one, said that it is the last."""
        more = [message.get("more_body", False) for message in self.received[1:]]
        return more == [True] * (len(more) - 1) + [False]


def scope(method: str = "GET", *headers: tuple[str, str]) -> dict[str, Any]:
    return http_scope(method, "/", headers=headers)


def upload(length: int) -> dict[str, Any]:
    return scope("POST", ("Content-Length", str(length)))


async def call(bridge: Bridge, client: Client, request: dict[str, Any] | None = None) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await bridge(request or scope(), client.receive, client.send)


class Body:
    """An iterable of these items; an exception among them is raised in its turn."""

    def __init__(self, *items: Any, close: Callable[[], None] = lambda: None) -> None:
        self._items = iter(items)
        self._close = close
        self.closed: list[threading.Thread] = []
        self.iterated: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.iterated.add(threading.current_thread())
        item = next(self._items)
        if isinstance(item, BaseException):
            raise item
        return item() if callable(item) else item

    def close(self) -> None:
        self.closed.append(threading.current_thread())
        self._close()


def answering(items: Iterable[Any], status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()) -> App:
    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status, list(headers))
        return items

    return app


def read_all(environ: Environ, start_response: Any) -> list[bytes]:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [data]


def endless(item: bytes, close: Callable[[], None] = lambda: None) -> Body:
    def make() -> bytes:
        time.sleep(0.001)  # as an app that waits for events
        return item

    return Body(*repeat(make, 60_000), close=close)
