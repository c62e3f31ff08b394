import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from loadtests.http_connection import Answer, Connection, ExchangeError
from loadtests.http_load import Check, Load, Problem, Request, Results, build_request, expect_success, quantile
from tests.servers import find_free_port

GET = build_request("GET", "/")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Respond = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve(respond: Respond) -> AsyncIterator[int]:
    """The port of a server that reads requests without a body, and has `respond` write what it likes."""

    handlers: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                await respond(await reader.readuntil(b"\r\n\r\n"), writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.sleep(0.01)  # for the connections that are not accepted yet
            await asyncio.gather(*filter(None, handlers))


def always(data: bytes, *, close: bool = False) -> Respond:
    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return respond


async def reset(request: bytes, writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def load(
    port: int, *requests: Request, connections: int = 2, at_least: int = 10, check: Check = expect_success
) -> Results:
    running = Load(port, requests or [GET], connections=connections, check=check)
    running.start()
    async with asyncio.timeout(10):
        while running.results.requests < at_least:  # noqa: ASYNC110 - nothing announces a count
            await asyncio.sleep(0.001)
    return await running.stop()


async def exchange_all(respond: Respond, requests: Sequence[Request] = (GET,)) -> list[Answer]:
    async with serve(respond) as port:
        connection = Connection(port)
        try:
            return [await connection.exchange(request.data) for request in requests]
        finally:
            connection.close()


async def test_every_answer_is_counted_once() -> None:
    served = 0

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(OK)

    async with serve(respond) as port:
        results = await load(port, connections=5)
    assert served >= 10
    assert (results.requests, len(results.latencies), results.problems) == (served, served, {})
    assert results.requests_per_s == pytest.approx(served / results.seconds)


async def test_every_request_is_sent_as_often_as_the_others() -> None:
    paths: list[bytes] = []

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        paths.append(request.split()[1])
        writer.write(OK)

    async with serve(respond) as port:
        await load(port, *(build_request("GET", f"/{name}") for name in "abc"), connections=3, at_least=60)
    counts = [paths.count(path) for path in (b"/a", b"/b", b"/c")]
    assert max(counts) - min(counts) <= 3


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 404, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    ],
    ids=["content-length", "chunked", "204", "304"],
)
@pytest.mark.parametrize("piece_bytes", [1, 1000])
async def test_answer_is_read_to_its_end_however_it_arrives(
    data: bytes, status: int, body: bytes, piece_bytes: int
) -> None:
    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), piece_bytes):
            writer.write(data[start : start + piece_bytes])
            await asyncio.sleep(0)

    answers = await exchange_all(respond, [GET, GET])
    assert [(answer.status, answer.body) for answer in answers] == [(status, body)] * 2


async def test_headers_keep_their_order_and_repetitions() -> None:
    data = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\nSet-Cookie: b=2\r\n\r\n"
    [answer] = await exchange_all(always(data))
    assert answer.headers == [(b"set-cookie", b"a=1"), (b"content-length", b"0"), (b"set-cookie", b"b=2")]
    assert answer.header(b"set-cookie") == b"a=1"


async def test_wrong_body_is_told_by_the_check() -> None:
    def check(request: Request, answer: Answer) -> Problem | None:
        return None if answer.body == b"ok" else Problem("wrong", request.name, repr(answer.body))

    served = 0

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(OK if served != 3 else OK.replace(b"ok", b"no"))

    async with serve(respond) as port:
        results = await load(port, check=check)
    assert results.problems == {"wrong": 1}
    assert results.first_problems == [Problem("wrong", "GET /", "b'no'")]


async def test_exception_in_the_check_is_raised() -> None:
    def check(request: Request, answer: Answer) -> Problem | None:
        raise KeyError(request.name)

    async with serve(always(OK)) as port:
        with pytest.raises(KeyError, match="GET /"):
            await load(port, at_least=1, check=check)


async def test_server_error_is_a_failure() -> None:
    async with serve(always(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nboom")) as port:
        results = await load(port)
    assert results.problems == {"failed": results.requests}
    assert results.first_problems[0] == Problem("failed", "GET /", "status 500: b'boom'")


@pytest.mark.parametrize(
    ("respond", "detail"),
    [
        (
            always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True),
            "closed .* after 4 bytes of the body",
        ),
        (always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", close=True), "closed .* after 2"),
        (always(b"HTTP/1.1 200 O", close=True), "closed .* after 0"),
        (always(b"", close=True), "closed the connection instead of answering"),
        (reset, "broke the connection .* instead of answering"),
        (always(b"220 mail.example.org ESMTP\r\n"), "not an HTTP answer"),
    ],
    ids=["truncated", "truncated chunks", "truncated headers", "closed", "reset", "not HTTP"],
)
async def test_request_without_a_whole_answer_is_a_failure(respond: Respond, detail: str) -> None:
    async with serve(respond) as port:
        results = await load(port)
        with pytest.raises(ExchangeError, match=detail):
            await Connection(port).exchange(GET.data)
    assert results.problems == {"failed": results.requests}
    assert len(results.latencies) == 0


async def test_refused_connection_is_a_failure() -> None:
    results = await load(find_free_port())
    assert results.problems == {"failed": results.requests}
    assert results.first_problems[0].detail.startswith("cannot connect")


async def test_more_than_one_answer_to_a_request_is_a_failure() -> None:
    with pytest.raises(ExchangeError, match="more than an answer"):
        await exchange_all(always(OK + OK), [GET, GET])


async def test_more_body_than_announced_is_a_failure() -> None:
    with pytest.raises(ExchangeError, match="more than an answer"):
        await exchange_all(always(OK + b"more"), [GET, GET])


async def test_connection_that_the_server_announced_to_close_is_made_anew() -> None:
    data = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serve(always(data, close=True)) as port:
        results = await load(port)
    assert results.problems == {}


async def test_connection_that_was_closed_while_idle_is_made_anew() -> None:
    closed = asyncio.Event()

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()
        closed.set()

    async with serve(respond) as port:
        connection = Connection(port)
        for _ in range(3):
            assert (await connection.exchange(GET.data)).body == b"ok"
            await closed.wait()
            closed.clear()
            await asyncio.sleep(0.05)
        connection.close()


async def test_connection_that_was_closed_in_use_is_a_failure() -> None:
    served = 0

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 1:
            writer.write(OK)
        else:
            writer.close()

    with pytest.raises(ExchangeError, match="instead of answering"):
        await exchange_all(respond, [GET, GET])


def test_build_request_adds_host_and_content_length() -> None:
    request = build_request("POST", "/x?y=1", [("Accept", "*/*")], b"body", name="send")
    assert request == Request(
        "send", b"POST /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nContent-Length: 4\r\n\r\nbody"
    )


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 50), (0.99, 99), (1, 100)])
def test_quantile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert quantile(range(100, 0, -1), share) == value


def test_quantile_of_nothing_is_nan() -> None:
    assert str(quantile([], 0.5)) == "nan"
