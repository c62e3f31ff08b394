"""The bridge between an ASGI server and a WSGI app, without a server: each message that passes."""

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import repeat
from random import Random
from typing import Any

import pytest
from starlette.types import Message

from gateway import bridge as bridge_module
from gateway.bridge import ANSWERING_READ_AHEAD_BYTES, HIGH_WATER_BYTES, MESSAGE_BYTES, READ_AHEAD_BYTES, Bridge
from gateway.wsgi_input import ClientGoneError
from tests.gateway.apps import http_scope
from tests.gateway.plans import eventually

Environ = dict[str, Any]
App = Callable[[Environ, Any], Any]

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


@pytest.fixture
async def make_bridge() -> AsyncIterator[Callable[..., Bridge]]:
    """At the end no thread may be busy any more."""
    bridges = []

    def make(app: App, *, threads: int = 2, queue: int = 10) -> Bridge:
        bridges.append(Bridge(app, threads=threads, queue=queue))
        return bridges[-1]

    yield make
    for bridge in bridges:
        await eventually(lambda: bridge.busy + bridge.waiting == 0)  # noqa: B023
        bridge.close()


MakeBridge = Callable[..., Bridge]


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


# --- responses -------------------------------------------------------------------------------------------------------


async def test_response_is_sent_as_it_is(make_bridge: MakeBridge) -> None:
    client = Client()

    await call(make_bridge(answering([b"one", b"two"], headers=[("X-Name", "caf\xe9")])), client)

    assert client.received[0] == start(200, (b"x-name", b"caf\xe9"))
    assert client.data == b"onetwo"
    assert client.complete


def wait_in_the_loops_way(bridge: Bridge) -> None:
    while bridge.busy or bridge.waiting:
        time.sleep(0.001)


async def test_response_of_one_item_is_two_messages(make_bridge: MakeBridge) -> None:
    """If the thread is through with it before the loop comes to look, as it is here."""
    client, bridge = Client(), make_bridge(answering([b"item"]))
    running = asyncio.create_task(call(bridge, client))
    await asyncio.sleep(0)
    wait_in_the_loops_way(bridge)
    await running

    assert client.received == [start(), part(b"item")]


@pytest.mark.parametrize("items", [[], [b""], [b"", b""], Body()])
async def test_response_without_a_body_is_complete(make_bridge: MakeBridge, items: Iterable[bytes]) -> None:
    client = Client()

    await call(make_bridge(answering(items)), client)

    assert client.received == [start(), part()]


async def test_nothing_is_sent_before_the_first_item(make_bridge: MakeBridge) -> None:
    client, called, go_on = Client(), threading.Event(), threading.Event()

    def wait() -> bytes:
        called.set()
        assert go_on.wait(TIMEOUT_S)
        return b"item"

    running = asyncio.create_task(call(make_bridge(answering(Body(wait))), client))
    await eventually(called.is_set)
    assert client.received == []

    go_on.set()
    await running
    assert (client.received[0], client.data, client.complete) == (start(), b"item", True)


async def test_item_is_sent_while_the_next_one_is_made(make_bridge: MakeBridge) -> None:
    client, go_on = Client(), threading.Event()

    def wait() -> bytes:
        assert go_on.wait(TIMEOUT_S)
        return b"second"

    running = asyncio.create_task(call(make_bridge(answering(Body(b"first", wait))), client))
    await eventually(lambda: client.data == b"first")
    go_on.set()
    await running

    assert (client.received[:2], client.data) == ([start(), part(b"first", more=True)], b"firstsecond")
    assert client.complete


async def test_small_items_are_joined_and_large_ones_left(make_bridge: MakeBridge) -> None:
    client = Client()
    client.takes.clear()
    large = bytes(MESSAGE_BYTES + 1)
    running = asyncio.create_task(call(make_bridge(answering([b"a", b"b", large, b"c"])), client))
    await asyncio.sleep(0)
    client.takes.set()
    await running

    assert client.data == b"ab" + large + b"c"
    assert large in [message["body"] for message in client.received[1:]]


async def test_iterable_is_closed_once_by_the_thread_that_iterated_it(make_bridge: MakeBridge) -> None:
    response = Body(b"a", b"b")

    await call(make_bridge(answering(response)), Client())

    assert response.iterated == set(response.closed)
    assert len(response.closed) == 1


async def test_last_message_is_sent_when_the_iterable_is_closed(make_bridge: MakeBridge) -> None:
    client, go_on = Client(), threading.Event()
    response = Body(b"a", close=lambda: go_on.wait(TIMEOUT_S) and None)
    running = asyncio.create_task(call(make_bridge(answering(response)), client))
    await eventually(lambda: client.data == b"a")

    assert client.received == [start(), part(b"a", more=True)]
    go_on.set()
    await running
    assert client.received[-1] == part()


@pytest.mark.parametrize(
    ("method", "status", "items", "expected"),
    [
        ("GET", "200 OK", [b"abc", b"def"], b"abcd"),
        ("HEAD", "200 OK", [b"abc", b"def"], b""),
        ("GET", "204 No Content", [b"abc"], b""),
        ("GET", "304 Not Modified", [b"abc"], b""),
    ],
)
async def test_no_more_is_sent_than_may_be(
    make_bridge: MakeBridge, method: str, status: str, items: list[bytes], expected: bytes
) -> None:
    client = Client()

    await call(make_bridge(answering(items, status, [("Content-Length", "4")])), client, scope(method))

    assert client.data == expected
    assert ((b"content-length", b"4") in client.received[0]["headers"]) is (status == "200 OK")


# --- errors ----------------------------------------------------------------------------------------------------------


def failing(*items: Any, in_call: BaseException | None = None, in_close: BaseException | None = None) -> App:
    def close() -> None:
        if in_close is not None:
            raise in_close

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [])
        if in_call is not None:
            raise in_call
        return Body(*items, close=close)

    return app


@pytest.mark.parametrize(
    "app",
    [
        failing(in_call=ValueError()),
        failing(ValueError()),
        failing(in_call=SystemExit()),
        failing(KeyboardInterrupt()),
        failing(asyncio.CancelledError()),
        failing(ValueError(), in_close=LookupError()),
        failing("text"),
        failing(bytearray(b"a")),
        answering(None),  # type: ignore[arg-type]
        answering("text"),  # type: ignore[arg-type]
        answering(5),  # type: ignore[arg-type]
        answering([], status="20 OK"),
        answering([], status="199 No"),
        answering([], headers=[("X-Name", "a\nb")]),
        answering([], headers=[("X-Name", "\u20ac")]),
        answering([], headers=[("Content-Length", "-1")]),
        answering([], headers=[("Content-Length", "1"), ("Content-Length", "2")]),
        lambda environ, start_response: [b"a"],
        lambda environ, start_response: [],
        lambda environ: [],
    ],
)
async def test_error_before_the_first_item_is_gunicorns_page(
    make_bridge: MakeBridge, caplog: pytest.LogCaptureFixture, app: App
) -> None:
    client = Client()

    await call(make_bridge(app), client)

    assert [message.get("status") for message in client.received] == [500, None]
    assert (b"connection", b"close") in client.received[0]["headers"]
    assert client.data.startswith(b"<html>\n  <head>\n    <title>Internal Server Error</title>")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_error_after_the_first_item_breaks_the_response_off(make_bridge: MakeBridge) -> None:
    client = Client()

    with pytest.raises(LookupError):
        await call(make_bridge(failing(b"a", b"b", LookupError())), client)

    assert client.received[0] == start()
    assert client.data == b"ab"
    assert all(message["more_body"] for message in client.received[1:])


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
async def test_error_that_would_end_the_loop_breaks_off_its_response_alone(
    make_bridge: MakeBridge, error: BaseException
) -> None:
    with pytest.raises(RuntimeError, match="the legacy app raised") as caught:
        await call(make_bridge(failing(b"a", error)), Client())

    assert caught.value.__cause__ is error


async def test_error_in_close_comes_after_a_complete_response(make_bridge: MakeBridge) -> None:
    client = Client()

    with pytest.raises(LookupError):
        await call(make_bridge(failing(b"a", in_close=LookupError())), client)

    assert client.received[-1]["more_body"] is False
    assert client.data == b"a"


# --- start_response, by PEP 3333 -------------------------------------------------------------------------------------


def raised(error: Exception) -> Any:
    try:
        raise error
    except Exception as exc:
        return type(exc), exc, exc.__traceback__


async def test_response_may_be_replaced_until_something_was_sent(make_bridge: MakeBridge) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-Old", "a"), ("Content-Length", "100")])
        start_response("500 Oops", [("X-New", "b")], raised(ValueError()))
        return [b"sorry"]

    client = Client()
    await call(make_bridge(app), client)

    assert (client.received[0], client.data) == (start(500, (b"x-new", b"b"), reason="Oops"), b"sorry")


async def test_response_that_was_begun_is_not_replaced(make_bridge: MakeBridge) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        start_response("500 Oops", [], raised(LookupError()))
        yield b"b"

    client = Client()
    with pytest.raises(LookupError):
        await call(make_bridge(app), client)

    assert (client.received[0], client.data) == (start(), b"a")


async def test_what_is_written_comes_before_what_is_iterated(make_bridge: MakeBridge) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"")
        write(b"b")
        return [b"c"]

    client = Client()
    await call(make_bridge(app), client)

    assert (client.received[0], client.data) == (start(), b"abc")


async def test_headers_of_the_connection_are_left_out(make_bridge: MakeBridge) -> None:
    client = Client()
    headers = [(name.title(), "x") for name in bridge_module.HOP_BY_HOP]

    await call(make_bridge(answering([], headers=[*headers, ("X-Name", "\t a ")])), client)

    assert client.received[0] == start(200, (b"x-name", b"a"))


# --- request bodies --------------------------------------------------------------------------------------------------


def read_all(environ: Environ, start_response: Any) -> list[bytes]:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [data]


@pytest.mark.parametrize(
    "request_scope",
    [
        upload(6),
        scope("POST", ("Transfer-Encoding", "chunked")),
        {**scope("POST"), "http_version": "2"},
    ],
)
async def test_body_arrives_in_whatever_way_it_is_announced(
    make_bridge: MakeBridge, request_scope: dict[str, Any]
) -> None:
    client = Client(body(b"one", more=True), body(b"", more=True), body(b"two", more=True), body())

    await call(make_bridge(read_all), client, request_scope)

    assert client.data == b"onetwo"


async def test_body_that_a_middleware_has_kept_is_read_as_it_gives_it(make_bridge: MakeBridge) -> None:
    """Whole, and again for every further question: it must not be asked without end."""
    client, asked = Client(), 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        assert asked < 10
        return body(b"kept")

    async with asyncio.timeout(TIMEOUT_S):
        await make_bridge(read_all)(upload(4), receive, client.send)

    assert client.data == b"kept"


async def test_body_is_not_read_far_ahead_of_the_app(make_bridge: MakeBridge) -> None:
    called, go_on = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        called.set()
        assert go_on.wait(TIMEOUT_S)
        return read_all(environ, start_response)

    block = bytes(READ_AHEAD_BYTES // 4)
    client = Client(*[body(block, more=True)] * 20, body())
    running = asyncio.create_task(call(make_bridge(app), client, upload(20 * len(block))))
    await eventually(called.is_set)
    await eventually(lambda: client.asked == 4)
    for _ in range(10):
        await asyncio.sleep(0)
    assert client.asked == 4

    go_on.set()
    await running
    assert len(client.data) == 20 * len(block)


async def test_app_that_answers_and_does_not_read_learns_that_the_client_left(
    make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "LOOK_AGAIN_S", 0.001)
    block = bytes(ANSWERING_READ_AHEAD_BYTES // 2)
    client = Client(*[body(block, more=True)] * 4, DISCONNECT)
    response = endless(b"a")

    await call(make_bridge(answering(response)), client, upload(10**9))

    assert len(response.closed) == 1
    assert client.asked == 5


# --- clients and servers that go away --------------------------------------------------------------------------------


def endless(item: bytes, close: Callable[[], None] = lambda: None) -> Body:
    def make() -> bytes:
        time.sleep(0.001)  # as an app that waits for events
        return item

    return Body(*repeat(make, 60_000), close=close)


async def test_client_that_leaves_a_stream_closes_it(make_bridge: MakeBridge) -> None:
    client, response = Client(), endless(b"a")
    running = asyncio.create_task(call(make_bridge(answering(response)), client))
    await eventually(lambda: len(client.received) > 3)

    client.incoming.put_nowait(DISCONNECT)
    await running

    assert len(response.closed) == 1


async def test_client_that_leaves_a_stream_that_nobody_takes_closes_it(make_bridge: MakeBridge) -> None:
    client, response = Client(), endless(bytes(HIGH_WATER_BYTES))
    running = asyncio.create_task(call(make_bridge(answering(response)), client))
    await eventually(lambda: len(client.received) > 1)
    client.takes.clear()

    client.incoming.put_nowait(DISCONNECT)
    await eventually(lambda: len(response.closed) == 1)
    client.takes.set()  # as a server does when its connection is lost
    await running


async def test_stream_is_made_no_faster_than_it_is_taken(make_bridge: MakeBridge) -> None:
    made = 0

    def make() -> Iterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield bytes(HIGH_WATER_BYTES // 4)

    client = Client()
    client.takes.clear()
    bridge = make_bridge(answering(make()))
    running = asyncio.create_task(call(bridge, client))
    await eventually(lambda: made == 4)
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert made == 4

    client.takes.set()
    await running
    assert (made, len(client.data)) == (100, 25 * HIGH_WATER_BYTES)


async def test_client_that_leaves_during_its_upload_makes_the_read_raise(make_bridge: MakeBridge) -> None:
    errors = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        try:
            return read_all(environ, start_response)
        except ConnectionError as exc:
            errors.append(exc)
            raise

    client = Client(body(b"half", more=True), DISCONNECT)
    await call(make_bridge(app), client, upload(8))

    assert [type(error) for error in errors] == [ClientGoneError]
    assert client.received == []


async def test_request_lasts_until_the_app_is_done_though_the_client_left(make_bridge: MakeBridge) -> None:
    """So that a server which stops waits for a view that is about to write what it computed."""
    called, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        called.set()
        assert go_on.wait(TIMEOUT_S)
        done.set()
        start_response("200 OK", [])
        return [b"too late"]

    client = Client(body(b"x"), DISCONNECT)
    running = asyncio.create_task(call(make_bridge(app), client, upload(1)))
    await eventually(lambda: called.is_set() and client.asked >= 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()

    go_on.set()
    await running
    assert done.is_set()
    assert client.received == []


async def test_app_error_after_the_client_left_is_logged(
    make_bridge: MakeBridge, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(body(b"half", more=True), DISCONNECT)

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        finally:
            raise LookupError

    await call(make_bridge(app), client, upload(8))

    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


@pytest.mark.parametrize("fails", [True, False])
async def test_request_that_is_cancelled_closes_its_stream(
    make_bridge: MakeBridge, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    def fail() -> None:
        if fails:
            raise LookupError

    response = endless(b"a", fail)
    client = Client()
    bridge = make_bridge(answering(response))
    running = asyncio.create_task(call(bridge, client))
    await eventually(lambda: len(client.received) > 3)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await eventually(lambda: bridge.busy == 0)
    assert len(response.closed) == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError] * fails


async def test_request_that_is_cancelled_while_its_body_is_awaited_frees_the_thread(make_bridge: MakeBridge) -> None:
    client = Client(body(b"half", more=True))
    bridge = make_bridge(read_all)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await bridge(upload(8), client.receive, client.send)

    await eventually(lambda: bridge.busy == 0)


async def test_server_that_cannot_send_closes_the_stream(make_bridge: MakeBridge) -> None:
    client, response = Client(), endless(b"a")
    bridge = make_bridge(answering(response))
    running = asyncio.create_task(call(bridge, client))
    await eventually(lambda: len(client.received) > 3)

    client.error = OSError("the server's")
    with pytest.raises(OSError, match="the server's"):
        await running

    await eventually(lambda: bridge.busy == 0)
    assert len(response.closed) == 1


async def test_server_that_cannot_receive_makes_the_read_raise(make_bridge: MakeBridge) -> None:
    client = Client(body(b"half", more=True))
    client.incoming.put_nowait(LookupError("a middleware's"))

    with pytest.raises(LookupError, match="a middleware's"):
        await call(make_bridge(read_all), client, upload(8))


def test_loop_that_ends_closes_the_stream() -> None:
    response = endless(b"a")
    bridge = Bridge(answering(response), threads=1, queue=0)

    async def leave_behind() -> None:
        client = Client()
        task = asyncio.create_task(bridge(scope(), client.receive, client.send))
        await eventually(lambda: len(client.received) > 3)
        assert not task.done()

    asyncio.run(leave_behind())

    deadline = time.monotonic() + TIMEOUT_S
    while not response.closed or bridge.busy:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    bridge.close()


# --- the pool, and what is left of a request --------------------------------------------------------------------------


async def test_bridge_is_saturated_while_its_threads_and_its_queue_are_full(make_bridge: MakeBridge) -> None:
    go_on = threading.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        assert go_on.wait(TIMEOUT_S)
        start_response("200 OK", [])
        return []

    bridge = make_bridge(app, threads=2, queue=1)
    running = [asyncio.create_task(call(bridge, Client())) for _ in range(3)]
    await eventually(lambda: (bridge.busy, bridge.waiting) == (2, 1))
    assert bridge.saturated

    go_on.set()
    await asyncio.gather(*running)
    await eventually(lambda: not bridge.saturated)


@pytest.mark.parametrize("kind", ["plain", "upload", "stream", "broken", "disconnected", "truncated"])
async def test_request_is_forgotten_at_its_end(make_bridge: MakeBridge, kind: str) -> None:
    """Without waiting for the garbage collector, which comes late to a process with much memory."""
    held: list[weakref.ref[Any]] = []

    class Held:
        pass

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        environ["held"] = Held()
        held.append(weakref.ref(environ["held"]))
        data = environ["wsgi.input"].read() if kind in ("upload", "truncated") else b"a"
        start_response("200 OK", [])
        yield data
        if kind != "plain":
            time.sleep(0.01)
            yield data
        if kind == "broken":
            raise LookupError
        while kind == "disconnected":
            yield data

    incoming = {
        "upload": [body(b"one", more=True), body(b"two")],
        "truncated": [body(b"one", more=True), DISCONNECT],
        "disconnected": [body(), DISCONNECT],
    }
    bridge = make_bridge(app)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            try:
                await call(bridge, Client(*incoming.get(kind, [])), upload(6) if "u" in kind[:2] else scope())
            except LookupError:
                assert kind == "broken"
        await eventually(lambda: all(reference() is None for reference in held))
    finally:
        gc.enable()
    assert len(held) == 3


async def test_websocket_is_refused_and_a_lifespan_is_answered(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(answering([]))
    socket, lifespan = Client(), Client({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    await bridge({"type": "websocket"}, socket.receive, socket.send)
    await bridge({"type": "lifespan"}, lifespan.receive, lifespan.send)

    assert [message["type"] for message in socket.received] == ["websocket.close"]
    assert [message["type"] for message in lifespan.received] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


# --- all at once -----------------------------------------------------------------------------------------------------


class Chaos:
    """One request whose app, client and server do as chance has it, and what can be said of it afterwards."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.app_random = Random(seed + 1)
        self.sent_body = bytes(self.random.choice([0, 1, 70_000, 500_000]))
        self.read, self.made, self.closed, self.returned = 0, 0, 0, False
        self.fails = self.random.random() < 0.1
        messages = self.split()
        self.leaves = self.random.random() < 0.3
        if self.leaves:
            messages[self.random.randint(0, len(messages)) :] = [DISCONNECT]
        self.client = Client(*messages)

    def split(self) -> list[Message]:
        size = self.random.choice([10_000, 50_000, 300_000])
        pieces = [self.sent_body[at : at + size] for at in range(0, len(self.sent_body), size)] or [b""]
        return [body(piece, more=True) for piece in pieces[:-1]] + [body(pieces[-1])]

    def app(self, environ: Environ, start_response: Any) -> Any:
        random = self.app_random
        if random.random() < 0.2:
            self.read += len(environ["wsgi.input"].read())
        if random.random() < 0.05:
            raise LookupError
        start_response("200 OK", [])
        self.returned = True
        return ChaosBody(self, environ["wsgi.input"])

    async def send(self, message: Message) -> None:
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.random() * 0.002)
        if self.fails and self.random.random() < 0.3:
            raise OSError
        await self.client.send(message)

    async def run(self, bridge: Bridge) -> None:
        try:
            async with asyncio.timeout(self.random.random() * 0.01 if self.random.random() < 0.1 else TIMEOUT_S):
                await bridge(upload(len(self.sent_body)), self.client.receive, self.send)
        except (LookupError, OSError, TimeoutError):
            return
        if not self.leaves:
            assert self.client.complete
            assert len(self.client.data) == self.made or self.client.received[0]["status"] == 500


class ChaosBody:
    def __init__(self, chaos: Chaos, stream: Any) -> None:
        self._chaos = chaos
        self._stream = stream
        self._left = chaos.app_random.randrange(8)

    def __iter__(self) -> "ChaosBody":
        return self

    def __next__(self) -> bytes:
        chaos, random = self._chaos, self._chaos.app_random
        if self._left == 0:
            raise StopIteration
        self._left -= 1
        if random.random() < 0.3:
            chaos.read += len(self._stream.read(random.choice([1, 1_000, 200_000, -1])))
        if random.random() < 0.05:
            raise LookupError
        if random.random() < 0.3:
            time.sleep(random.random() * 0.002)
        item = bytes(random.choice([0, 1, 5_000, 300_000]))
        chaos.made += len(item)
        return item

    def close(self) -> None:
        self._chaos.closed += 1


async def test_whatever_happens_every_thread_is_freed_and_every_response_closed(make_bridge: MakeBridge) -> None:
    all_of_them = [Chaos(seed) for seed in range(2000)]
    waiting = iter(all_of_them)

    async def work() -> None:
        for chaos in waiting:
            bridge.app = chaos.app
            await chaos.run(bridge)

    bridge = make_bridge(answering([]), threads=8, queue=100)
    logging.getLogger("gateway.bridge").disabled = True
    try:
        await asyncio.gather(*(work() for _ in range(16)))
        await eventually(lambda: bridge.busy + bridge.waiting == 0)
    finally:
        logging.getLogger("gateway.bridge").disabled = False

    assert all(chaos.closed == chaos.returned for chaos in all_of_them)
