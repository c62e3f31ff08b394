"""The protocol over real sockets, in this process: packets are handed to it one by one where it matters."""

import asyncio
import hashlib
import inspect
import io
import logging
import tokenize
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from typing import Any

import httptools
import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from gateway import http_protocol
from gateway.edge import Edge
from gateway.http_protocol import GatewayHttpProtocol
from tests.edge import PROBED, Connection, Reply, converse, read_replies

OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
DEFAULT_HEADERS = [(b"date", b"today"), (b"server", b"ours")]


class Recorded(GatewayHttpProtocol):
    """Joins a queue when its connection is made."""

    def __init__(self, queue: "asyncio.Queue[Recorded]", *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.queue.put_nowait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


@dataclass
class Server:
    port: int
    made: asyncio.Queue[Recorded]
    clients: "list[Client]" = field(default_factory=list)

    async def converse(self, *packets: bytes, head: bool = False) -> Connection:
        return await asyncio.to_thread(partial(converse, self.port, *packets, head=head))

    async def connect(self) -> "Client":
        """A connection whose server side is at hand, to give it packets that no network can join."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(Client(reader, writer, await self.made.get()))
        return self.clients[-1]


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: Recorded

    def receive(self, packet: bytes) -> None:
        self.protocol.data_received(packet)

    async def replies(self) -> list[Reply]:
        """All there are, when the server closes the connection."""
        everything = await self.reader.read()
        return list(read_replies(io.BytesIO(everything)))


@asynccontextmanager
async def serve(app: ASGIApp, *, unix: Path | None = None, **options: Any) -> AsyncIterator[Server]:
    async def probed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/probe"):
            await answer(send, PROBED, headers=[(b"x-probe", b"yes")])
        else:
            await app(scope, receive, send)

    config = uvicorn.Config(probed, interface="asgi3", log_config=None, ws="websockets-sansio", **options)
    config.load()
    state = ServerState()
    state.default_headers = DEFAULT_HEADERS
    made: asyncio.Queue[Recorded] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    connected = partial(Recorded, made, config=config, server_state=state, app_state={}, _loop=loop)
    if unix is None:
        listener = await loop.create_server(connected, "127.0.0.1", 0)
        server = Server(listener.sockets[0].getsockname()[1], made)
    else:
        listener = await loop.create_unix_server(connected, unix)
        server = Server(0, made)
    try:
        yield server
    finally:
        listener.close()
        for client in server.clients:
            client.writer.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def answer(send: Send, body: bytes, *, status: int = 200, headers: Any = (), **more: Any) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers], **more})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


@dataclass
class Echo:
    """Reads each request and remembers it."""

    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.bodies.append(await read_body(receive))
        await answer(send, b"ok")


def answering(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", *, more_body: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more_body}


def post(*lines: bytes, data: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a.test", *lines, b"", b""]) + data


# --- trailers --------------------------------------------------------------------------------------------------------

CHUNKED = post(b"Transfer-Encoding: chunked", data=b"2\r\nab\r\n")


@pytest.mark.parametrize(
    "packets",
    [
        [CHUNKED + b"0\r\nX-User: admin\r\nX-Role: root\r\n\r\n"],
        [CHUNKED, b"0\r\nX-User: admin\r\nX-Role: root\r\n\r\n"],
        [CHUNKED, b"0\r\n", b"X-User: ad", b"min\r\nX-Role: root\r\n", b"\r\n"],
    ],
    ids=["one packet", "a packet of their own", "in pieces"],
)
async def test_trailers_reach_no_request(packets: list[bytes]) -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        for packet in packets:
            client.receive(packet)
            await asyncio.sleep(0)  # the app runs before the trailers come
        client.receive(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert [reply.status for reply in await client.replies()] == [200, 200]

    first, second = (dict(scope["headers"]) for scope in app.scopes)
    assert first == {b"host": b"a.test", b"transfer-encoding": b"chunked"}
    assert second == {b"host": b"a.test", b"connection": b"close"}
    assert app.bodies == [b"ab", b""]


# --- upgrades --------------------------------------------------------------------------------------------------------

H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
H2C_HEAD = post(*H2C, b"Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "packets",
    [
        [post(*H2C, b"Content-Length: 4", data=b"abcd")],
        [post(*H2C, b"Content-Length: 4"), b"ab", b"cd"],
        [H2C_HEAD + b"2\r\nab\r\n2\r\ncd\r\n0\r\nX-User: admin\r\n\r\n"],
        [H2C_HEAD, b"4\r\nab", b"cd\r\n0", b"\r\n\r\n"],
        [H2C_HEAD[:40], H2C_HEAD[40:], b"4\r\nabcd\r\n0\r\n\r\n"],
    ],
    ids=["length", "length, in pieces", "chunked", "chunked, in pieces", "head in pieces"],
)
async def test_refused_upgrade_keeps_its_body(packets: list[bytes]) -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        for packet in packets:
            client.receive(packet)
        client.receive(post(*H2C, b"Content-Length: 3", b"Connection: close", data=b"end"))
        assert [reply.status for reply in await client.replies()] == [200, 200]

    assert app.bodies == [b"abcd", b"end"]
    assert dict(app.scopes[0]["headers"])[b"upgrade"] == b"h2c"
    assert b"x-user" not in dict(app.scopes[0]["headers"])


async def test_many_upgrades_in_one_packet_are_all_answered() -> None:
    app = Echo()
    async with serve(app) as server:
        result = await server.converse(post(*H2C, b"Content-Length: 1", data=b"a") * 2_000)

    assert result.statuses == [200] * 2_000
    assert result.open
    assert app.bodies == [b"a"] * 2_000


async def test_websocket_is_upgraded() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["path"]) == ("websocket", "/chat")
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        await send({"type": "websocket.close"})

    async with serve(app) as server, connect(f"ws://127.0.0.1:{server.port}/chat") as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "HELLO"


async def test_websocket_that_the_edge_refuses_is_told_why() -> None:
    async with serve(Edge(Echo())) as server:
        client = await server.connect()
        client.writer.write(HANDSHAKE[:-2] + b"Authorization: a\r\nAuthorization: b\r\n\r\n")
        (reply,) = await client.replies()

    assert (reply.status, reply.body) == (400, b"Bad Request")


WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
HANDSHAKE = post(*WEBSOCKET).replace(b"POST", b"GET")


@pytest.mark.parametrize(
    "request_",
    [
        post(*WEBSOCKET, b"Content-Length: 2", data=b"ab"),
        post(*WEBSOCKET, b"Content-Length: 2", data=b"ab").replace(b"POST", b"GET"),
        post(*WEBSOCKET, b"Content-Length: 2", data=b"ab").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["POST", "with a body", "HTTP/1.0"],
)
async def test_what_cannot_be_a_websocket_is_an_http_request(request_: bytes) -> None:
    app = Echo()
    async with serve(app) as server:
        result = await server.converse(request_)

    assert result.statuses == [200]
    assert app.bodies == [b"ab"]
    assert dict(app.scopes[0]["headers"])[b"upgrade"] == b"websocket"


async def test_websocket_behind_an_unanswered_request_is_an_http_request() -> None:
    app = Echo()
    async with serve(app) as server:
        result = await server.converse(GET + HANDSHAKE)

    assert result.statuses == [200, 200]
    assert [scope["type"] for scope in app.scopes] == ["http", "http"]


# --- the request line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "method", "path", "raw_path", "query", "raw_uri"),
    [
        (b"GET /a%20b?q=%20", "GET", "/a b", b"/a%20b", b"q=%20", "/a%20b?q=%20"),
        (b"GET /a?b#c", "GET", "/a", b"/a", b"b", "/a?b#c"),
        (b"GET //a/b", "GET", "//a/b", b"//a/b", b"", "//a/b"),
        (b"GET http://b.test/a?q", "GET", "/a", b"/a", b"q", "http://b.test/a?q"),
        (b"GET http://b.test?q", "GET", "/", b"/", b"q", "http://b.test?q"),
        (b"OPTIONS *", "OPTIONS", "*", b"*", b"", "*"),
        (b"BAN /a", "BAN", "/a", b"/a", b"", "/a"),
    ],
)
async def test_target(line: bytes, method: str, path: str, raw_path: bytes, query: bytes, raw_uri: str) -> None:
    app = Echo()
    async with serve(app) as server:
        await server.converse(line + b" HTTP/1.1\r\nHost: a.test\r\n\r\n")

    (scope,) = app.scopes
    assert (scope["method"], scope["path"], scope["raw_path"]) == (method, path, raw_path)
    assert (scope["query_string"], scope["raw_uri"]) == (query, raw_uri)


async def test_root_path_stands_before_the_path_alone() -> None:
    app = Echo()
    async with serve(app, root_path="/root") as server:
        await server.converse(GET.replace(b"/", b"/a", 1))

    (scope,) = app.scopes
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/root", "/root/a", b"/root/a")
    assert scope["raw_uri"] == "/a"


@pytest.mark.parametrize("packets", [[b"B", b"AN / HTTP/1.1\r\n\r\n"], [b"GE", b"XYZ / HTTP/1.1\r\n\r\n"]])
async def test_unknown_method_in_two_packets_is_refused(packets: list[bytes]) -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        for packet in packets:
            client.receive(packet)
        assert [reply.status for reply in await client.replies()] == [400]

    assert app.scopes == []


async def test_unknown_method_keeps_the_head_that_follows() -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(b"BAN / HT")
        client.receive(b"TP/1.1\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\na")
        client.receive(b"b")
        assert [reply.status for reply in await client.replies()] == [200]

    assert [scope["method"] for scope in app.scopes] == ["BAN"]
    assert app.bodies == [b"ab"]


async def test_unix_socket_has_no_client_and_no_port(tmp_path: Path) -> None:
    app = Echo()
    async with serve(app, unix=tmp_path / "socket"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(GET)
        assert await reader.readuntil(b"ok")
        writer.close()

    assert app.scopes[0]["client"] is None
    assert app.scopes[0]["server"] == (str(tmp_path / "socket"), None)


# --- requests that are refused ---------------------------------------------------------------------------------------

MALFORMED = {
    "length and coding": post(b"Content-Length: 3", b"Transfer-Encoding: chunked", data=b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3", b"Content-Length: 3", data=b"abc"),
    "folded header": GET[:-2] + b"X: a\r\n b\r\n\r\n",
    "bare LF": GET.replace(b"\r\n", b"\n"),
    "blank before a colon": GET[:-2] + b"X : a\r\n\r\n",
    "control character": GET[:-2] + b"X: a\x01\r\n\r\n",
    "lower case method": b"get / HTTP/1.1\r\n\r\n",
    "CONNECT": b"CONNECT a.test:80 HTTP/1.1\r\n\r\n",
    "GET *": b"GET * HTTP/1.1\r\n\r\n",
    "malformed absolute target": b"GET http://[/ HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_is_refused(name: str) -> None:
    app = Echo()
    async with serve(app) as server:
        result = await server.converse(MALFORMED[name])

    (reply,) = result.replies
    assert (reply.status, reply.body, reply.all("connection")) == (400, b"Bad Request", ["close"])
    assert (reply.all("server"), reply.all("date")) == (["ours"], ["today"])
    assert not result.open
    assert app.scopes == []


@dataclass
class Held:
    """Answers each request when it is told to."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    first: Message = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.first:
            await send(self.first)
        self.begun.set()
        await self.go_on.wait()
        self.messages.append((await receive())["type"])
        if not self.first:
            await answer(send, scope["path"].encode())


async def test_refusal_waits_for_the_answers_before_it() -> None:
    app = Held()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(GET.replace(b"/", b"/1", 1) + GET.replace(b"/", b"/2", 1) + b"\x00garbage\r\n\r\n")
        await app.begun.wait()
        app.go_on.set()
        replies = await client.replies()

    assert [(reply.status, reply.body) for reply in replies] == [(200, b"/1"), (200, b"/2"), (400, b"Bad Request")]


async def test_broken_body_of_a_waiting_request_is_refused_in_its_turn() -> None:
    app = Held()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(GET.replace(b"/", b"/1", 1) + CHUNKED + b"nonsense\r\n")
        await app.begun.wait()
        app.go_on.set()
        replies = await client.replies()

    assert [reply.status for reply in replies] == [200, 400]
    assert app.messages == ["http.request"]


async def test_broken_body_ends_the_request_for_the_app() -> None:
    app = Held()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(CHUNKED)
        await app.begun.wait()
        client.receive(b"nonsense\r\n")
        replies = await client.replies()
        app.go_on.set()
        await asyncio.gather(*client.protocol.tasks)

    assert [reply.status for reply in replies] == [400]
    assert app.messages == ["http.disconnect"]


async def test_broken_body_is_no_part_of_an_answer_under_way() -> None:
    app = Held(first=OK)
    async with serve(app) as server:
        client = await server.connect()
        client.receive(CHUNKED)
        await app.begun.wait()
        client.receive(b"nonsense\r\n")
        (reply,) = await client.replies()
        app.go_on.set()
        await asyncio.gather(*client.protocol.tasks)

    assert (reply.status, reply.whole) == (200, False)
    assert app.messages == ["http.disconnect"]


ENDLESS = {
    "request line": (b"GET /", b"a" * 65_536, [414]),
    "headers": (b"GET / HTTP/1.1\r\n", b"X-Header: value\r\n" * 4_096, [431]),
    "header": (b"GET / HTTP/1.1\r\nX: ", b"a" * 65_536, [431]),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: value\r\n" * 4_096, [431]),
    "trailer": (CHUNKED + b"0\r\nX: ", b"a" * 65_536, [431]),
    "chunk extension": (CHUNKED + b"1;a=", b"a" * 65_536, [431]),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_head_is_refused(name: str) -> None:
    begin, packet, statuses = ENDLESS[name]
    async with serve(Echo()) as server:
        client = await server.connect()
        client.receive(begin)
        for _ in range(20):
            client.receive(packet)
        assert [reply.status for reply in await client.replies()] == statuses


async def test_body_may_be_of_any_size() -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(post(b"Connection: close", b"Content-Length: %d" % (40 * 65_536)))
        for _ in range(40):
            client.receive(b"a" * 65_536)
        assert [reply.status for reply in await client.replies()] == [200]

    assert app.bodies == [b"a" * 40 * 65_536]


async def test_too_many_requests_are_refused() -> None:
    app = Echo()
    async with serve(app, limit_concurrency=1) as server:
        result = await server.converse(GET)

    assert (result.statuses, result.open) == ([503], False)
    assert app.scopes == []


# --- the status line and the headers of an answer --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (start(302), "302 Found"),
        (start(302, **{"gateway.reason": "FOUND"}), "302 FOUND"),
        (start(404, **{"gateway.reason": "Nothing hér\xe9"}), "404 Nothing hér\xe9"),
        (start(200, **{"gateway.reason": ""}), "200 "),
        (start(299), "299 "),
        (start(999, **{"gateway.reason": "Odd"}), "999 Odd"),
    ],
)
async def test_status_line(message: Message, line: str) -> None:
    async with serve(answering(message, body())) as server:
        (reply,) = (await server.converse(GET)).replies

    assert f"{reply.status} {reply.reason}" == line


INVALID_STARTS = {
    "line break in the reason": start(200, **{"gateway.reason": "OK\r\nX: y"}),
    "interim status": start(103),
    "four digits": start(1000),
    "line break in a value": start(200, (b"x", b"a\r\nb: c")),
    "NUL in a value": start(200, (b"x", b"a\x00b")),
    "blank in a name": start(200, (b"x y", b"a")),
    "no name": start(200, (b"", b"a")),
    "two lengths": start(200, (b"content-length", b"1"), (b"content-length", b"1")),
    "signed length": start(200, (b"content-length", b"+1")),
}


@pytest.mark.parametrize("name", INVALID_STARTS)
async def test_invalid_answer_is_a_500(name: str) -> None:
    async with serve(answering(INVALID_STARTS[name], body(b"a"))) as server:
        result = await server.converse(GET)

    (reply,) = result.replies
    assert (reply.status, reply.body, result.open) == (500, b"Internal Server Error", False)


async def test_server_and_date_are_the_apps_if_it_says_them() -> None:
    async with serve(answering(start(200, (b"Server", b"mine"), (b"x", b"y")), body())) as server:
        (mine,) = (await server.converse(GET)).replies
    async with serve(answering(start(200, (b"date", b"yesterday")), body())) as server:
        (yesterday,) = (await server.converse(GET)).replies

    assert (mine.all("server"), mine.all("date"), mine.all("x")) == (["mine"], ["today"], ["y"])
    assert (yesterday.all("server"), yesterday.all("date")) == (["ours"], ["yesterday"])


async def test_framing_is_the_servers() -> None:
    headers = [(b"transfer-encoding", b"chunked"), (b"content-length", b"2"), (b"connection", b"keep-alive")]
    async with serve(answering(start(200, *headers), body(b"ab"))) as server:
        result = await server.converse(GET)

    (reply,) = result.replies
    assert (reply.body, reply.all("transfer-encoding"), reply.all("content-length")) == (b"ab", [], ["2"])
    assert (reply.all("connection"), result.open) == ([], True)


@pytest.mark.parametrize(
    ("value", "sent", "stays_open"),
    [
        (b"Close", ["close"], False),
        (b"Upgrade, close", ["Upgrade, close", "close"], False),
        (b"Upgrade", ["Upgrade"], True),
    ],
)
async def test_app_may_end_the_connection(value: bytes, sent: list[str], stays_open: bool) -> None:
    async with serve(answering(start(200, (b"connection", value)), body())) as server:
        result = await server.converse(GET)

    assert (result.replies[0].all("connection"), result.open) == (sent, stays_open)


# --- the body of an answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "length"),
    [(304, b"GET", ["5"]), (204, b"GET", []), (200, b"HEAD", ["5"]), (404, b"HEAD", ["5"])],
)
@pytest.mark.parametrize("bodies", [[body()], [body(b"hello")], [body(b"he", more_body=True), body(b"llo and more")]])
async def test_answer_without_a_body_keeps_the_connection(
    status: int, method: bytes, length: list[str], bodies: list[Message]
) -> None:
    async with serve(answering(start(status, (b"content-length", b"5")), *bodies)) as server:
        result = await server.converse(GET.replace(b"GET", method), head=True)

    (reply,) = result.replies
    assert (reply.status, reply.all("content-length"), reply.all("transfer-encoding")) == (status, length, [])
    assert result.open


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"3")]])
async def test_body_in_pieces(headers: list[tuple[bytes, bytes]]) -> None:
    pieces = [body(b"a", more_body=True), body(b"", more_body=True), body(b"bc", more_body=True), body()]
    async with serve(answering(start(200, *headers), *pieces)) as server:
        result = await server.converse(GET)

    (reply,) = result.replies
    assert (reply.body, result.open) == (b"abc", True)
    assert reply.all("transfer-encoding") == ([] if headers else ["chunked"])


@pytest.mark.parametrize("data", [b"a", b"abc"])
async def test_wrong_length_ends_the_connection(data: bytes) -> None:
    async with serve(answering(start(200, (b"content-length", b"2")), body(data))) as server:
        result = await server.converse(GET)

    (reply,) = result.replies
    assert (reply.whole, result.open) == (False, False)


@pytest.mark.parametrize("messages", [[body()], [start(), start()], [start(), body(), body()]])
async def test_messages_in_the_wrong_order_are_errors(
    messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(answering(*messages)) as server:
        await server.converse(GET)

    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [RuntimeError]


# --- HTTP/1.0 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "length", "connection", "stays_open"),
    [
        (b"Keep-Alive", True, ["keep-alive"], True),
        (b"Keep-Alive", False, ["close"], False),
        (b"", True, ["close"], False),
        (b"", False, ["close"], False),
    ],
)
async def test_http_1_0(header: bytes, length: bool, connection: list[str], stays_open: bool) -> None:
    headers = [(b"content-length", b"3")] if length else []
    async with serve(answering(start(200, *headers), body(b"a", more_body=True), body(b"bc"))) as server:
        result = await server.converse(b"GET / HTTP/1.0\r\nConnection: " + header + b"\r\n\r\n")

    (reply,) = result.replies
    assert (reply.version, reply.body, reply.all("transfer-encoding")) == ("HTTP/1.0", b"abc", [])
    assert (reply.all("connection"), result.open) == (connection, stays_open)


# --- bodies that nobody reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [[], [(b"connection", b"close")]])
async def test_client_that_sends_before_it_looks_gets_its_answer(headers: list[tuple[bytes, bytes]]) -> None:
    size = 8 * 1024 * 1024
    app = answering(start(413, (b"content-length", b"3"), *headers), body(b"no\n"))
    async with serve(app) as server:
        result = await server.converse(post(b"Content-Length: %d" % size), b"a" * size)

    assert [(reply.status, reply.body) for reply in result.replies] == [(413, b"no\n")]
    assert result.open == (not headers)


async def test_nobody_drains_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "DRAIN_BYTES", 100_000)
    async with serve(answering(OK, body(b"ok"))) as server:
        client = await server.connect()
        client.receive(post(b"Content-Length: 1000000"))
        assert await client.reader.readuntil(b"ok") != b""
        client.receive(b"a" * 90_000)
        assert not client.protocol.transport.is_closing()
        client.receive(b"a" * 90_000)
        assert client.protocol.transport.is_closing()


async def test_client_that_never_stops_sending_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.0)
    async with serve(answering(start(200, (b"connection", b"close")), body())) as server:
        client = await server.connect()
        client.receive(post(b"Content-Length: 1000000"))
        assert [reply.status for reply in await client.replies()] == [200]
        await client.protocol.lost.wait()


# --- 100-continue ----------------------------------------------------------------------------------------------------

EXPECTING = post(b"Expect: 100-continue", b"Content-Length: 2")


async def test_client_is_told_to_continue_when_the_app_reads() -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        client.writer.write(EXPECTING)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"ab" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert [reply.status for reply in await client.replies()] == [200, 200]

    assert app.bodies == [b"ab", b""]


async def test_client_that_was_not_told_to_continue_must_connect_again() -> None:
    async with serve(answering(OK, body(b"ok"))) as server:
        client = await server.connect()
        client.writer.write(EXPECTING)
        (reply,) = await client.replies()

    assert (reply.status, reply.all("connection")) == (200, ["close"])


async def test_expectation_of_http_1_0_is_ignored() -> None:
    app = Echo()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(EXPECTING.replace(b"1.1", b"1.0"))
        client.receive(b"ab")
        everything = await client.reader.read()

    assert everything.startswith(b"HTTP/1.0 200")


# --- clients that leave ----------------------------------------------------------------------------------------------


async def test_request_under_way_is_told_that_the_client_left_though_others_wait_behind_it() -> None:
    app = Held()
    async with serve(app) as server:
        client = await server.connect()
        client.receive(GET + GET)
        await app.begun.wait()
        client.protocol.transport.abort()
        await client.protocol.lost.wait()
        app.go_on.set()
        await asyncio.gather(*client.protocol.tasks)

    assert app.messages == ["http.disconnect"]


async def test_send_after_the_client_left_does_nothing() -> None:
    sent = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await answer(send, b"nobody hears this")
        sent.set()

    async with serve(app) as server:
        client = await server.connect()
        client.writer.write(GET)
        client.writer.close()
        await asyncio.wait_for(sent.wait(), 5)


async def test_graceful_shutdown_ends_idle_connections_and_lets_others_finish() -> None:
    app = Held()
    async with serve(app) as server:
        idle, busy = await server.connect(), await server.connect()
        busy.receive(GET)
        await app.begun.wait()
        idle.protocol.shutdown()
        busy.protocol.shutdown()
        app.go_on.set()

        assert await idle.replies() == []
        assert [(reply.status, reply.all("connection")) for reply in await busy.replies()] == [(200, ["close"])]


async def test_access_log_has_uvicorns_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with serve(answering(start(404), body())) as server:
        client = await server.connect()
        client.receive(b"GET /a%20b?q=1 HTTP/1.0\r\n\r\n")
        await client.replies()

    (record,) = (record for record in caplog.records if record.name == "uvicorn.access")
    assert isinstance(record.args, tuple)
    assert record.args[1:] == ("GET", "/a%20b?q=1", "1.0", 404)


# --- what all this relies on -----------------------------------------------------------------------------------------


def test_parser_is_the_one_that_was_examined() -> None:
    """Another parser, or another llhttp, may read a doubtful request in another way: examine it as this one was.

    That is: run this directory's tests against it, and read what llhttp's releases say of its leniencies.
    """
    major, minor = version("httptools").split(".")[:2]

    assert (int(major), int(minor)) == (0, 9)
    assert issubclass(GatewayHttpProtocol, HttpToolsProtocol)
    assert not issubclass(httptools.HttpParserUpgrade, httptools.HttpParserError)


# The code of uvicorn that `GatewayHttpProtocol` and `Cycle` call, are called by, or replace.
EXAMINED: dict[Callable[..., Any], str] = {
    HttpToolsProtocol.__init__: "c0420ad3043ac9a9",
    HttpToolsProtocol.connection_made: "8c1d055fd33a60ae",
    HttpToolsProtocol.connection_lost: "25fdeb43f2dff0cb",
    HttpToolsProtocol.eof_received: "1db22b08a5f3b176",
    HttpToolsProtocol.data_received: "e74b210e3c04f336",
    HttpToolsProtocol.handle_websocket_upgrade: "ea7b52f360fcc848",
    HttpToolsProtocol.on_message_begin: "c456bff183cd087c",
    HttpToolsProtocol.on_url: "5ffd0eec34d77755",
    HttpToolsProtocol.on_header: "b89cbbc6db2adf3a",
    HttpToolsProtocol.on_headers_complete: "8dfdf4fc3b4fb184",
    HttpToolsProtocol.on_body: "a02fa52bdf33060a",
    HttpToolsProtocol.on_message_complete: "87e5be1faf503bb8",
    HttpToolsProtocol.on_response_complete: "bf257afb094e5d0f",
    HttpToolsProtocol._should_upgrade: "33b213065ffa7fd1",
    HttpToolsProtocol._start_asgi_task: "c8c773c7e2d04cb1",
    HttpToolsProtocol._unset_keepalive_if_required: "df160182c46a45ac",
    HttpToolsProtocol.shutdown: "3fc90dd3d36af3bd",
    HttpToolsProtocol.timeout_keep_alive_handler: "16ae57aa33cdbcf4",
    RequestResponseCycle.__init__: "04bbc9d9c79f2fa6",
    RequestResponseCycle.run_asgi: "7483b97646628779",
    RequestResponseCycle.send_500_response: "c559132cadbca539",
    RequestResponseCycle.send: "d744b2b1d727a88b",
    RequestResponseCycle.receive: "e7a392a4367ad55b",
    FlowControl: "9e84e1d3268ee5d9",
    ServerState: "f938d5827b9255f1",
}


@pytest.mark.parametrize("code", EXAMINED, ids=lambda code: code.__qualname__)
def test_uvicorn_is_the_one_that_was_examined(code: Callable[..., Any]) -> None:
    """If this fails, uvicorn has changed: compare this with what replaces or calls it, then note the new digest."""
    assert digest(code) == EXAMINED[code]


def digest(code: Callable[..., Any]) -> str:
    """Of what it says, not of its comments and layout."""
    source = dedent(inspect.getsource(code))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    text = "".join(token.string for token in tokens if token.type != tokenize.COMMENT)
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()[:16]
