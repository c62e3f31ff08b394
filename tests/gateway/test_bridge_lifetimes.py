"""Clients that leave and servers that stop, in the middle of whatever the bridge is at: what ends, and when."""

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from starlette.types import Message

from gateway.bridge import HIGH_WATER_BYTES, Bridge
from gateway.wsgi_input import ClientGoneError
from tests.gateway.asgi_client import (
    DISCONNECT,
    TIMEOUT_S,
    Client,
    Environ,
    MakeBridge,
    answering,
    body,
    call,
    endless,
    read_all,
    scope,
    upload,
)
from tests.gateway.plans import eventually

# --- clients and servers that go away --------------------------------------------------------------------------------


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
