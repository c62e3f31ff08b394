"""The same bytes to gunicorn and to the gateway's protocol and edge, around the same Flask app."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask, Response, request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.bridge import Bridge
from gateway.edge import Edge
from tests.edge import PROBED, Connection, converse
from tests.examples.servers import serve, serve_wsgi
from tests.servers import find_free_port

METHODS = ["GET", "POST", "PUT", "OPTIONS", "BAN"]
# What differs between any two servers.
UNLIKE = {"SERVER_PORT", "REMOTE_PORT", "SERVER_SOFTWARE"}

flask_app = Flask(__name__)


@flask_app.route("/", methods=METHODS)
@flask_app.route("/echo", methods=METHODS)
@flask_app.route("/user/<name>", methods=METHODS)
def echo(name: str = "") -> dict[str, Any]:
    body = request.get_data().decode("latin-1")
    environ = {
        key: value
        for key, value in request.environ.items()
        if isinstance(value, str) and key not in UNLIKE and not key.startswith("werkzeug")
    }
    return {"name": name, "body": body, "environ": environ}


@flask_app.post("/unread")
def unread() -> str:
    return "unread"


@flask_app.get("/stream")
def stream() -> Response:
    return Response(iter(["a", "bc"]), mimetype="text/plain")


@flask_app.get("/status/<int:code>")
def status(code: int) -> Response:
    return Response("" if code in (204, 304) else "x", f"{code} Very Custom", {"Server": "mine", "Date": "today"})


@flask_app.get("/probe")
def probe() -> Response:
    return Response(PROBED, headers={"X-Probe": "yes"})


def gateway_app() -> ASGIApp:
    """For `uvicorn --factory`."""
    bridge = Bridge(flask_app, threads=8, queue=100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("this app has none")
        await bridge(scope, receive, send)

    return Edge(app)


@pytest.fixture(scope="module")
def gunicorn() -> Iterator[int]:
    with serve_wsgi(f"{__name__}:flask_app") as port:
        yield port


@pytest.fixture(scope="module")
def gateway() -> Iterator[int]:
    port = find_free_port()
    options = ["--http", "gateway.http_protocol:GatewayHttpProtocol", "--loop", "uvloop", "--no-proxy-headers"]
    quiet = ["--no-access-log", "--log-level", "error"]
    with serve(["-m", "uvicorn", *options, *quiet, "--port", str(port), "--factory", f"{__name__}:gateway_app"], port):
        yield port


class Outcome(NamedTuple):
    """What a client can tell, and in `seen` what the app could."""

    statuses: list[str]
    lengths: list[list[str]]
    open: bool
    seen: list[Any]


def outcome(connection: Connection) -> Outcome:
    # The version and the phrase count too, but those of an error page are the server's
    lines = [
        f"{reply.version} {reply.status} {reply.reason}" if reply.status < 400 else f"{reply.status}"
        for reply in connection.replies
    ]
    answered = [reply for reply in connection.replies if reply.status < 400]
    lengths = [reply.all("content-length") for reply in answered]
    seen = [json.loads(reply.body) if reply.body.startswith(b"{") else reply.body for reply in answered]
    return Outcome(lines, lengths, connection.open, seen)


def get(target: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: a.test", *lines, "", ""]).encode("latin-1")


def post(*lines: str, body: str = "", target: str = "/echo", version: str = "1.1") -> bytes:
    head = "\r\n".join([f"POST {target} HTTP/{version}", "Host: a.test", *lines, "", ""])
    return (head + body).encode("latin-1")


def chunked(body: str, *lines: str) -> bytes:
    return post("Transfer-Encoding: chunked", *lines, body=body)


def line_of(length: int) -> bytes:
    return get("/echo?" + "a" * (length - len("GET /echo? HTTP/1.1")))


CHUNKS = "3\r\nabc\r\n0\r\n\r\n"
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")

SAME = {
    # bodies, pipelining, persistence
    "get": get("/echo"),
    "two at once": get("/echo?1") + get("/echo?2"),
    "close": get("/echo", "Connection: close"),
    "content-length": post("Content-Length: 3", body="abc"),
    "chunked": chunked(CHUNKS),
    "chunk extension": chunked("3;a=b\r\nabc\r\n0\r\n\r\n"),
    "trailer": chunked("3\r\nabc\r\n0\r\nX-Remote-User: admin\r\n\r\n"),
    "trailer, then a request": chunked("3\r\nabc\r\n0\r\nX-Remote-User: admin\r\n\r\n") + get("/echo"),
    "unread body": post("Content-Length: 3", body="abc", target="/unread"),
    "large unread body": post("Content-Length: 60000", body="a" * 60000, target="/unread"),
    "stream": get("/stream"),
    "100-continue, in a hurry": post("Content-Length: 3", "Expect: 100-continue", body="abc"),
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    # upgrades
    "another upgrade": post("Connection: Upgrade", "Upgrade: foo", "Content-Length: 3", body="abc"),
    "another upgrade, chunked": chunked(CHUNKS, "Connection: keep-alive, Upgrade", "Upgrade: foo") + get("/echo"),
    "upgrade after a request": get("/echo")
    + post("Connection: Upgrade", "Upgrade: foo", "Content-Length: 1", body="a"),
    "WebSocket upgrade with POST": post("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 3", body="abc"),
    # HTTP/1.0
    "1.0": get("/echo", version="1.0"),
    "1.0 keep-alive": get("/echo", "Connection: keep-alive", version="1.0"),
    "1.0 stream": get("/stream", version="1.0"),
    "1.0 stream, keep-alive": get("/stream", "Connection: keep-alive", version="1.0"),
    "1.0 with Expect": post("Content-Length: 3", "Expect: 100-continue", body="abc", version="1.0"),
    "1.0 chunked": post("Transfer-Encoding: chunked", body=CHUNKS, version="1.0"),
    "1.0 chunked, keep-alive": post("Transfer-Encoding: chunked", "Connection: keep-alive", body=CHUNKS, version="1.0"),
    # status lines
    "own phrase, own Server and Date": get("/status/299"),
    "redirect": get("/status/302"),
    "204": get("/status/204"),
    "304": get("/status/304"),
    "404": get("/nowhere"),
    "405": post("Content-Length: 3", body="abc", target="/stream"),
    # methods
    "unknown method that the app has": b"BAN /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
    "unknown method that it has not": b"FOO /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "unknown method, beginning as a known one": b"GETX /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "lower case": b"get /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "mixed case": b"Get /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "too short a method": b"AB /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # targets
    "absolute": get("http://b.test/echo?q=1#f"),
    "absolute with user and port": get("http://u:p@b.test:99/echo"),
    "absolute, malformed": get("http://[::1/echo"),
    "two slashes": get("//echo"),
    "two slashes, as if a host": get("//echo/echo"),
    "fragment": get("/echo?q=1#frag"),
    "fragment with a question mark": get("/echo#frag?q=1"),
    "empty query": get("/echo?"),
    "two question marks": get("/echo?a?b"),
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "OPTIONS *?": b"OPTIONS *?x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET *": get("*"),
    "authority": get("b.test:80"),
    "no slash": get("echo"),
    "encoded": get("/user/%61%2Fb"),
    "encoded newline in a value": get("/user/a%0A"),
    "encoded newline after a path": get("/echo%0A"),
    "encoded NUL": get("/user/a%00b"),
    "no UTF-8": get("/user/%FF"),
    "no encoding": get("/user/%zz"),
    "odd characters": get('/user/a|b^"<>{}`\\'),
    "byte above 127": get("/echo?\xff"),
    "control character": get("/echo\x01"),
    "space": get("/echo b"),
    # request lines
    "0.9": get("/echo", version="0.9"),
    "0.9 without a version": b"GET /echo\r\n\r\n",
    "2.0": get("/echo", version="2.0"),
    "trailing space": get("/echo", version="1.1 "),
    "bare LF": b"GET /echo HTTP/1.1\nHost: a.test\r\n\r\n",
    "empty line before": b"\r\n" + get("/echo"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "garbage after a request": get("/echo") + b"\x00\x01garbage\r\n\r\n",
    # framing
    "length and coding": post("Content-Length: 3", "Transfer-Encoding: chunked", body=CHUNKS),
    "coding and length": post("Transfer-Encoding: chunked", "Content-Length: 3", body=CHUNKS),
    "two equal lengths": post("Content-Length: 3", "Content-Length: 3", body="abc"),
    "list of lengths": post("Content-Length: 3, 3", body="abc"),
    "length with a sign": post("Content-Length: +3", body="abc"),
    "negative length": post("Content-Length: -3", body="abc"),
    "hexadecimal length": post("Content-Length: 0x3", body="abc"),
    "length with an underscore": post("Content-Length: 0_3", body="abc"),
    "empty length": post("Content-Length: ", body="abc"),
    "length with a blank": post("Content-Length: 3 ", body="abc"),
    "coding gzip": post("Transfer-Encoding: gzip", body="abc"),
    "coding identity": post("Transfer-Encoding: identity", body="abc"),
    "unknown coding": post("Transfer-Encoding: foo, chunked", body=CHUNKS),
    "coding twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKS),
    "coding twice in a list": post("Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "coding before a colon": post("Transfer-Encoding : chunked", body=CHUNKS),
    "coding with a blank": post("Transfer-Encoding: chunked ", body=CHUNKS),
    "coding with a vertical tab": post("Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "coding in capitals": post("Transfer-Encoding: CHUNKED", body=CHUNKS),
    # headers
    "folded": get("/echo", "X-A: a", " b"),
    "folded first": b"GET /echo HTTP/1.1\r\n X-A: a\r\n\r\n",
    "bare LF in a header": get("/echo", "X-A: a\nX-B: b"),
    "bare CR in a header": get("/echo", "X-A: a\rX-B: b"),
    "bare LF at the end": b"GET /echo HTTP/1.1\r\nHost: a.test\r\n\n",
    "no colon": get("/echo", "X-A"),
    "no name": get("/echo", ": a"),
    "NUL in a value": get("/echo", "X-A: a\x00b"),
    "control character in a value": get("/echo", "X-A: a\x01b"),
    "DEL in a value": get("/echo", "X-A: a\x7fb"),
    "tab in a value": get("/echo", "X-A: a\tb"),
    "latin-1 in a value": get("/echo", "X-A: \xe9"),
    "latin-1 in a name": get("/echo", "X-\xe9: a"),
    "parenthesis in a name": get("/echo", "X-(: a"),
    "blanks around a value": get("/echo", "X-A: \t a b \t "),
    "repeated header": get("/echo", "X-A: 1", "X-A: 2"),
    "two cookies": get("/echo", "Cookie: a=1", "Cookie: b=2"),
    "two hosts": get("/echo", "Host: b.test"),
    "two content types": post("Content-Type: a/b", "content-type: c/d", "Content-Length: 0"),
    "underscore": get("/echo", "X_User: root"),
    "underscore beside a dash": get("/echo", "X-User: me", "X_User: root"),
    "expectation": get("/echo", "Expect: something"),
    # proxies: both servers see a peer that they trust with the scheme
    "X-Forwarded-Proto": get("/echo", "X-Forwarded-Proto: https"),
    "X-Forwarded-Proto in capitals": get("/echo", "X-Forwarded-Proto: HTTPS"),
    "X-Forwarded-Proto: wss": get("/echo", "X-Forwarded-Proto: wss"),
    "X-Forwarded-Ssl": get("/echo", "X-Forwarded-Ssl: on"),
    "X-Forwarded-Protocol": get("/echo", "X-Forwarded-Protocol: ssl"),
    "agreement": get("/echo", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"),
    "contradiction": get("/echo", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
    "contradiction in one": get("/echo", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
    "X-Forwarded-For": get("/echo", "X-Forwarded-For: 192.0.2.1"),
    "X-Forwarded-For, nonsense": get("/echo", "X-Forwarded-For: <script>"),
    # limits
    "request line of 4094": line_of(4094),
    "request line of 4095": line_of(4095),
    "request line of 20,000": line_of(20_000),
    "request line of 70,000": line_of(70_000),
    "100 headers": get("/echo", *[f"X-{number}: a" for number in range(99)]),
    "101 headers": get("/echo", *[f"X-{number}: a" for number in range(100)]),
    "header of 8190": get("/echo", "X-A: " + "a" * (8190 - 7)),
    "header of 8191": get("/echo", "X-A: " + "a" * (8191 - 7)),
    "header of 2,000,000": get("/echo", "X-A: " + "a" * 2_000_000),
}


@pytest.mark.parametrize("name", SAME)
def test_request_has_same_outcome(gunicorn: int, gateway: int, name: str) -> None:
    assert outcome(converse(gateway, SAME[name])) == outcome(converse(gunicorn, SAME[name]))


@pytest.mark.parametrize("target", ["/echo", "/stream", "/status/200", "/status/304"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_has_same_outcome(gunicorn: int, gateway: int, target: str, version: str) -> None:
    request = f"HEAD {target} HTTP/{version}\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n".encode()

    assert outcome(converse(gateway, request, head=True)) == outcome(converse(gunicorn, request, head=True))


def test_server_and_date_come_once(gunicorn: int, gateway: int) -> None:
    for port, server in (gunicorn, "gunicorn"), (gateway, "uvicorn"):
        (reply,) = converse(port, get("/status/200")).replies
        assert reply.all("server") == [server]
        assert len(reply.all("date")) == 1


def test_client_that_sends_before_it_looks_gets_its_answer(gateway: int) -> None:
    size = 8 * 1024 * 1024  # gunicorn reads 64 KiB of what nobody wanted, and then resets the connection
    result = converse(gateway, post(f"Content-Length: {size}", body="a" * size, target="/unread", version="1.0"))

    assert [(reply.status, reply.body) for reply in result.replies] == [(200, b"unread")]
    assert not result.open


class Difference(NamedTuple):
    request: bytes
    gunicorn: tuple[list[int], bool]
    """The statuses, and whether the connection stays open."""
    gateway: tuple[list[int], bool]
    why: str


DIFFERENT = {
    "repeated identity": Difference(
        get("/echo", "Authorization: Basic YTph", "Authorization: Basic YjpiCg=="),
        ([200], True),
        ([400], False),
        "Flask joins them, FastAPI takes the first: the two sides would see different users",
    ),
    "close among others": Difference(
        get("/echo", "Connection: close, foo"), ([200], True), ([200], False), "RFC 9112 section 9.6, as written"
    ),
    "coding gzip, chunked": Difference(
        post("Transfer-Encoding: gzip, chunked", body=CHUNKS), ([200], False), ([501], False), "nobody would unpack it"
    ),
    "coding identity, chunked": Difference(
        post("Transfer-Encoding: identity, chunked", body=CHUNKS), ([200], True), ([501], False), "as above"
    ),
    "coding xchunked": Difference(
        post("Transfer-Encoding: xchunked", body=CHUNKS), ([501], False), ([400], False), "llhttp refuses it first"
    ),
    "coding with a tab": Difference(
        post("Transfer-Encoding: chunked\t", body=CHUNKS), ([200], True), ([400], False), "llhttp refuses it"
    ),
    "blank before a chunk extension": Difference(
        chunked("3 ;a=b\r\nabc\r\n0\r\n\r\n"), ([200], True), ([400], False), "llhttp refuses it"
    ),
    "forbidden trailer": Difference(
        chunked("3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n"), ([500], False), ([200], True), "trailers are ignored"
    ),
    "unknown method in second place": Difference(
        get("/echo") + b"BAN /echo HTTP/1.1\r\nHost: a.test\r\n\r\n",
        ([200, 200], True),
        ([200, 400], False),
        "llhttp does not say where in a packet it stopped",
    ),
    "RTSP's method": Difference(
        b"SETUP /echo HTTP/1.1\r\nHost: a.test\r\n\r\n", ([405], True), ([400], False), "llhttp keeps it for RTSP"
    ),
    "CONNECT": Difference(
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", ([404], False), ([400], False), "this is no proxy"
    ),
    "HTTP/1.2": Difference(get("/echo", version="1.2"), ([200], True), ([400], False), "llhttp does not know it"),
    "absolute without a path": Difference(
        get("http://b.test"), ([308], True), ([200], True), "RFC 9112 section 3.2.1: it means the path /"
    ),
    # llhttp is more tolerant here, without reading a message in two ways
    "two spaces": Difference(get(" /echo"), ([400], False), ([200], True), "llhttp"),
    "RTSP": Difference(b"GET /echo RTSP/1.1\r\nHost: a.test\r\n\r\n", ([400], False), ([200], True), "llhttp"),
    "two empty lines before": Difference(
        b"\r\n\r\n" + get("/echo"), ([400], False), ([200], True), "RFC 9112 section 2.2"
    ),
    "LF before": Difference(b"\n" + get("/echo"), ([400], False), ([200], True), "llhttp"),
    "SCRIPT_NAME from a proxy": Difference(
        get("/api/echo", "SCRIPT_NAME: /api"), ([200], True), ([404], True), "use root_path: no header may move the app"
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_remaining_difference_is_the_documented_one(gunicorn: int, gateway: int, name: str) -> None:
    case = DIFFERENT[name]
    theirs, ours = converse(gunicorn, case.request), converse(gateway, case.request)

    assert (theirs.statuses, theirs.open) == case.gunicorn
    assert (ours.statuses, ours.open) == case.gateway


BROKEN_BODIES = {
    "hexadecimal size": "0x3\r\nabc\r\n0\r\n\r\n",
    "signed size": "+3\r\nabc\r\n0\r\n\r\n",
    "bare LF after the size": "3\nabc\r\n0\r\n\r\n",
    "no CRLF after the chunk": "3\r\nabc0\r\n\r\n",
    "chunk longer than its size": "3\r\nabcd\r\n0\r\n\r\n",
    "trailer without a colon": "3\r\nabc\r\n0\r\nfoo\r\n\r\n",
    "length among the trailers": "3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_broken_body_is_the_clients_fault(gunicorn: int, gateway: int, body: str) -> None:
    """In gunicorn the app meets it as an exception, of which Flask makes a 500. Neither reads on."""
    theirs, ours = converse(gunicorn, chunked(body)), converse(gateway, chunked(body))

    assert (theirs.statuses, theirs.open) == ([500], False)
    assert (ours.statuses, ours.open) == ([400], False)


@pytest.mark.parametrize("body", [post("Content-Length: 3", *H2C, body="abc"), chunked(CHUNKS, *H2C)])
def test_h2c_offer_keeps_its_body_and_is_not_shown_to_the_app(gunicorn: int, gateway: int, body: bytes) -> None:
    theirs, ours = outcome(converse(gunicorn, body, get("/echo"))), outcome(converse(gateway, body, get("/echo")))

    for key in "HTTP_UPGRADE", "HTTP_HTTP2_SETTINGS":
        del theirs.seen[0]["environ"][key]
    assert (ours.statuses, ours.open, ours.seen) == (theirs.statuses, theirs.open, theirs.seen)
    assert ours.seen[0]["body"] == "abc"
