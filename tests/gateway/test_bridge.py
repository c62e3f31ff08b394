"""What a WSGI app answers, and what it reads, as the messages of ASGI. (How it all ends: test_bridge_lifetimes.py.)"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from starlette.types import Message

from gateway import bridge as bridge_module
from gateway.bridge import ANSWERING_READ_AHEAD_BYTES, MESSAGE_BYTES, READ_AHEAD_BYTES, Bridge
from tests.gateway.asgi_client import (
    DISCONNECT,
    TIMEOUT_S,
    App,
    Body,
    Client,
    Environ,
    MakeBridge,
    answering,
    body,
    call,
    endless,
    part,
    read_all,
    scope,
    start,
    upload,
)
from tests.gateway.plans import eventually

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
