from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway import edge as edge_module
from gateway.edge import PEER, ControlCharacterGuard, Edge, Peers, Proxy, parse_address, parse_proxy

Headers = list[tuple[bytes, bytes]]

LOOPBACK = ("127.0.0.1", 50_000)
STRANGER = ("198.51.100.7", 50_000)
TCP_SERVER = ("192.0.2.1", 80)
UNIX_SERVER = ("/run/gateway.sock", None)
PROXIES: Sequence[Proxy] = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), "unix")


class App:
    """Remembers what reaches it."""

    scope: Scope | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope


def http(*headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "raw_uri": "/",
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "client": LOOPBACK,
        "server": TCP_SERVER,
        "headers": list(headers),
        **more,
    }


def websocket(*headers: tuple[bytes, bytes], **more: Any) -> Scope:
    scope = http(*headers, type="websocket", scheme="ws", **more)
    del scope["method"]
    return scope


async def collect(app: Any, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def pass_through(scope: Scope, **options: Any) -> Scope:
    app = App()
    assert await collect(Edge(app, **options), scope) == []
    assert app.scope is not None
    return app.scope


async def refusal(scope: Scope, **options: Any) -> int:
    app = App()
    start, body = await collect(Edge(app, **options), scope)
    assert app.scope is None
    assert dict(start["headers"])[b"connection"] == b"close"
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    return int(start["status"])


async def test_request_with_nothing_wrong_is_left_alone() -> None:
    headers = [
        (b"host", b"a.test"),
        (b"content-type", b"text/plain"),
        (b"x-empty", b""),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
    ]
    scope = http(*headers)
    before = scope["headers"]

    assert (await pass_through(scope))["headers"] is before
    assert scope == http(*headers)


async def test_lifespan_passes() -> None:
    assert await pass_through({"type": "lifespan"}) == {"type": "lifespan"}


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [http, websocket])
@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([(b"x_user", b"root"), (b"x-user", b"me")], [(b"x-user", b"me")]),
        ([(b"x-user", b"me"), (b"_", b"a"), (b"a", b"b")], [(b"x-user", b"me"), (b"a", b"b")]),
        ([(b"content_length", b"5")], []),
        ([(b"a", b"b \t "), (b"c", b" \td")], [(b"a", b"b"), (b"c", b"d")]),
        ([(b"a", b" \t")], [(b"a", b"")]),
        ([(b"upgrade", b"h2c"), (b"http2-settings", b"AA"), (b"a", b"b")], [(b"a", b"b")]),
        ([(b"upgrade", b"H2C ")], []),
        ([(b"upgrade", b"websocket")], [(b"upgrade", b"websocket")]),
    ],
)
async def test_headers_are_cleaned(make: Any, headers: Headers, kept: Headers) -> None:
    assert (await pass_through(make(*headers)))["headers"] == kept


async def test_names_with_underscores_are_dropped_however_many_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_module, "MAX_REMEMBERED_NAMES", 3)
    app = App()
    edge = Edge(app, unique_headers=["x-user"])

    for number in range(20):
        scope = http((b"x-%d" % number, b""), (b"x_%d" % number, b""), (b"x_0", b""))
        assert await collect(edge, scope) == []
        assert scope["headers"] == [(b"x-%d" % number, b"")]
    (start, _) = await collect(edge, http((b"x-user", b"a"), (b"x-user", b"b")))
    assert start["status"] == 400


@pytest.mark.parametrize("name", [b"host", b"content-type", b"content-length", b"authorization", b"x-user"])
async def test_header_that_must_be_unique_is_refused_twice(name: bytes) -> None:
    unique = ["Authorization", "X-User"]

    assert await refusal(http((name, b"1"), (b"a", b"b"), (name, b"1")), unique_headers=unique) == 400
    await pass_through(http((name, b"1"), (b"a", b"b")), unique_headers=unique)


async def test_setting_says_which_headers_must_be_unique() -> None:
    twice = [(b"authorization", b"1"), (b"authorization", b"2")]

    await pass_through(http(*twice), unique_headers=[])
    assert await refusal(http(*twice)) == 400


async def test_unique_header_with_an_underscore_is_dropped_like_any_other() -> None:
    assert (await pass_through(http((b"x_user", b"a")), unique_headers=["x_user"]))["headers"] == []


async def test_unique_header_keeps_its_other_meaning() -> None:
    once = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-ssl", b"on")]

    assert (await pass_through(http(*once), unique_headers=["x-forwarded-proto"]))["scheme"] == "https"
    assert await refusal(http(*once, once[0]), unique_headers=["x-forwarded-proto"]) == 400


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([(b"cookie", b"session=1; session=2")], True),
        ([(b"cookie", b"a=1;  session =1"), (b"cookie", b"session=2")], True),
        ([(b"cookie", b"session=1; a=1; a=2")], False),
        ([(b"cookie", b"session=1; xsession=2; b=session=3")], False),
    ],
)
async def test_cookie_that_must_be_unique(headers: Headers, refused: bool) -> None:
    await pass_through(http(*headers))
    if refused:
        assert await refusal(http(*headers), unique_cookies=["session"]) == 400
    else:
        await pass_through(http(*headers), unique_cookies=["session"])


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([(b"expect", b"something")], "1.1", 417),
        ([(b"expect", b"100-continue"), (b"expect", b"something")], "1.1", 417),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"3")], "1.1", 400),
        ([(b"content-length", b"3"), (b"transfer-encoding", b"chunked")], "1.1", 400),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], "1.1", 400),
        ([(b"transfer-encoding", b"chunked")], "1.0", 400),
        ([(b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([(b"transfer-encoding", b"identity")], "1.1", 501),
    ],
)
async def test_unserviceable_request_is_refused(headers: Headers, version: str, status: int) -> None:
    assert await refusal(http(*headers, http_version=version)) == status


@pytest.mark.parametrize(
    "header", [(b"expect", b"100-Continue"), (b"transfer-encoding", b"Chunked"), (b"transfer-encoding", b"chunked \t")]
)
async def test_serviceable_request_passes(header: tuple[bytes, bytes]) -> None:
    await pass_through(http(header))


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_limit", "above", "status"),
    [
        ({"raw_uri": "/" + "a" * 4080}, {"raw_uri": "/" + "a" * 4081}, 414),
        ({"headers": [(b"x", b"")] * 100}, {"headers": [(b"x", b"")] * 101}, 431),
        ({"headers": [(b"x", b"a" * 8185)]}, {"headers": [(b"x", b"a" * 8186)]}, 431),
        ({"headers": [(b"x" * 8185, b"a")]}, {"headers": [(b"x" * 8186, b"a")]}, 431),
    ],
)
async def test_limits(at_limit: dict[str, Any], above: dict[str, Any], status: int) -> None:
    await pass_through(http(**at_limit))
    assert await refusal(http(**above)) == status


@pytest.mark.parametrize(
    ("options", "scope", "status"),
    [
        ({"limit_request_line": 20}, http(raw_uri="/12345678"), 414),
        ({"limit_request_fields": 1}, http((b"a", b""), (b"b", b"")), 431),
        ({"limit_request_field_size": 10}, http((b"abc", b"defg")), 431),
    ],
)
async def test_limits_are_settings(options: dict[str, int], scope: Scope, status: int) -> None:
    assert await refusal(scope, **options) == status


async def test_limit_of_0_is_what_gunicorn_makes_of_it() -> None:
    options = {"limit_request_line": 0, "limit_request_fields": 0, "limit_request_field_size": 0}

    await pass_through(http(*[(b"x", b"a" * 8185)] * 1_000, raw_uri="/" + "a" * 100_000), **options)
    assert await refusal(http((b"x", b"a" * 8186)), **options) == 431
    assert await refusal(http(*[(b"x", b"")] * 32_769), **options) == 431


@pytest.mark.parametrize("raw_path", [b"/" + b"a" * 40, None])
async def test_request_line_is_estimated_where_the_server_does_not_say(raw_path: bytes | None) -> None:
    scope = http(path="/" + "a" * 40, raw_path=raw_path, query_string=b"q" * 40)
    del scope["raw_uri"]
    bytes_ = len(f"GET {scope['path']}?{'q' * 40} HTTP/1.1")

    await pass_through(scope, limit_request_line=bytes_)
    assert await refusal(scope, limit_request_line=bytes_ - 1) == 414


# --- the scheme ------------------------------------------------------------------------------------------------------

PROTO, PROTOCOL, SSL = b"x-forwarded-proto", b"x-forwarded-protocol", b"x-forwarded-ssl"


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ([(PROTO, b"https")], "https"),
        ([(PROTO, b"https ")], "https"),
        ([(PROTO, b"HTTPS")], "http"),
        ([(PROTO, b"https, http")], "http"),
        ([(PROTO, b"wss")], "http"),
        ([(PROTOCOL, b"ssl")], "https"),
        ([(PROTOCOL, b"https")], "http"),
        ([(SSL, b"on")], "https"),
        ([(SSL, b"off")], "http"),
        ([(PROTO, b"https"), (SSL, b"on"), (PROTOCOL, b"ssl")], "https"),
        ([(b"x_forwarded_proto", b"https")], "http"),
    ],
)
async def test_trusted_peer_says_the_scheme_as_gunicorn_hears_it(headers: Headers, scheme: str) -> None:
    assert (await pass_through(http(*headers)))["scheme"] == scheme


async def test_trusted_peer_may_say_that_it_was_not_https() -> None:
    assert (await pass_through(http((PROTO, b"http"), scheme="https")))["scheme"] == "http"


async def test_websocket_scheme() -> None:
    assert (await pass_through(websocket((PROTO, b"https"))))["scheme"] == "wss"
    assert (await pass_through(websocket((PROTO, b"wss"))))["scheme"] == "wss"
    assert (await pass_through(websocket((PROTO, b"ws"))))["scheme"] == "ws"


@pytest.mark.parametrize("headers", [[(PROTO, b"https"), (SSL, b"off")], [(PROTO, b"https"), (PROTO, b"http")]])
async def test_trusted_peer_that_contradicts_itself_is_refused(headers: Headers) -> None:
    assert await refusal(http(*headers)) == 400
    assert (await pass_through(http(*headers, client=STRANGER)))["scheme"] == "http"


@pytest.mark.parametrize(
    ("proxies", "client", "server", "scheme"),
    [
        # None named: gunicorn's default
        ((), LOOPBACK, TCP_SERVER, "https"),
        ((), ("::1", 1), TCP_SERVER, "https"),
        ((), ("::ffff:127.0.0.1", 1), TCP_SERVER, "https"),
        ((), ("127.0.0.2", 1), TCP_SERVER, "http"),
        ((), STRANGER, TCP_SERVER, "http"),
        ((), None, UNIX_SERVER, "https"),
        # A TCP connection whose client has reset it has no address
        ((), None, TCP_SERVER, "http"),
        ((), None, None, "http"),
        ((), ("testclient", 1), TCP_SERVER, "http"),
        # Some named: they alone
        (PROXIES, ("10.1.2.3", 1), TCP_SERVER, "https"),
        (PROXIES, ("2001:db8::1", 1), TCP_SERVER, "https"),
        (PROXIES, LOOPBACK, TCP_SERVER, "http"),
        (PROXIES, None, UNIX_SERVER, "https"),
        (PROXIES[:2], None, UNIX_SERVER, "http"),
    ],
)
async def test_peers_that_are_trusted(proxies: Sequence[Proxy], client: Any, server: Any, scheme: str) -> None:
    scope = http((PROTO, b"https"), client=client, server=server)

    assert (await pass_through(scope, trusted_proxies=proxies))["scheme"] == scheme
    assert scope["client"] == client


@pytest.mark.parametrize(("scheme", "clamped"), [("wss", "https"), ("ws", "http"), ("https", "https")])
async def test_scheme_that_another_middleware_took_over_word_for_word_is_clamped(scheme: str, clamped: str) -> None:
    assert (await pass_through(http(scheme=scheme)))["scheme"] == clamped


# --- the client's address --------------------------------------------------------------------------------------------

FORWARDED = b"x-forwarded-for"
PROXY = ("10.0.0.1", 1)


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([b"192.0.2.7"], ("192.0.2.7", 0)),
        ([b"6.6.6.6, 192.0.2.7"], ("192.0.2.7", 0)),
        ([b"6.6.6.6, 192.0.2.7, 10.0.0.2"], ("192.0.2.7", 0)),
        ([b"6.6.6.6", b"192.0.2.7,10.0.0.2", b"10.0.0.3"], ("192.0.2.7", 0)),
        ([b"192.0.2.7:1234"], ("192.0.2.7", 0)),
        ([b"[2001:db9::1]:1234"], ("2001:db9::1", 0)),
        ([b"[2001:db9::1]"], ("2001:db9::1", 0)),
        ([b"2001:DB9::0:1"], ("2001:db9::1", 0)),
        ([b"::ffff:192.0.2.7"], ("192.0.2.7", 0)),
        ([b"10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
        # Whatever stands left of what cannot be read is worth no more than that
        ([b"192.0.2.7, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        ([b"<script>"], PROXY),
        ([b"fe80::1%<script>"], PROXY),
        ([b"192.0.2.7, "], PROXY),
        ([b""], PROXY),
    ],
)
async def test_client_is_the_nearest_hop_that_is_no_proxy(values: list[bytes], client: tuple[str, int]) -> None:
    options = {"trusted_proxies": PROXIES, "client_address_from_proxy": True}
    scope = http(*[(FORWARDED, value) for value in values], client=PROXY)

    assert (await pass_through(scope, **options))["client"] == client
    assert scope.get(PEER, PROXY) == PROXY
    assert Peers(PROXIES).trust(scope)


async def test_client_behind_a_unix_socket() -> None:
    options = {"trusted_proxies": PROXIES, "client_address_from_proxy": True}
    scope = await pass_through(http((FORWARDED, b"192.0.2.7"), client=None, server=UNIX_SERVER), **options)

    assert (scope["client"], scope[PEER]) == (("192.0.2.7", 0), None)
    assert Peers(PROXIES).trust(scope)


@pytest.mark.parametrize(
    ("options", "client"),
    [
        ({"trusted_proxies": PROXIES}, PROXY),
        ({"trusted_proxies": PROXIES, "client_address_from_proxy": True}, STRANGER),
        ({"trusted_proxies": PROXIES, "client_address_from_proxy": True}, None),
        # gunicorn's default concerns the scheme alone
        ({"client_address_from_proxy": True}, LOOPBACK),
    ],
)
async def test_client_stays_the_peer_otherwise(options: dict[str, Any], client: Any) -> None:
    headers = (FORWARDED, b"192.0.2.7")

    assert (await pass_through(http(headers, client=client), **options))["client"] == client


def test_remembered_peers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_module, "MAX_REMEMBERED_PEERS", 3)
    peers = Peers(PROXIES)

    for number in range(20):
        assert peers.trust(http(client=(f"10.0.0.{number}", 1)))
        assert not peers.trust(http(client=(f"11.0.0.{number}", 1)))
    assert len(peers._remembered) <= 3


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("10.0.0.1", ip_network("10.0.0.1")),
        ("10.0.0.0/8", ip_network("10.0.0.0/8")),
        ("::1", ip_network("::1")),
        ("unix", "unix"),
    ],
)
def test_parse_proxy(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize("text", ["*", "0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.test", ""])
def test_parse_proxy_refuses_everybody_and_nonsense(text: str) -> None:
    with pytest.raises(ValueError, match=r"every client|host bits|does not appear"):
        parse_proxy(text)


@pytest.mark.parametrize(
    ("text", "address"), [("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "None"), ("a", "None")]
)
def test_parse_address(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


# --- how a request is refused ----------------------------------------------------------------------------------------

TWO_HOSTS = [(b"host", b"a.test"), (b"host", b"b.test")]


async def test_refused_request_gets_the_status_and_its_phrase(caplog: pytest.LogCaptureFixture) -> None:
    start, body = await collect(Edge(App()), http(*TWO_HOSTS))

    assert start == {
        "type": "http.response.start",
        "status": 400,
        "headers": [(b"content-type", b"text/plain"), (b"content-length", b"11"), (b"connection", b"close")],
    }
    assert body == {"type": "http.response.body", "body": b"Bad Request"}
    assert [record.getMessage() for record in caplog.records] == [
        "refused a request from ('127.0.0.1', 50000): b'host' is repeated"
    ]


async def test_refused_websocket_gets_the_status_where_the_server_can_send_one() -> None:
    with_extension = websocket(*TWO_HOSTS, extensions={"websocket.http.response": {}})
    start, body = await collect(Edge(App()), with_extension)

    assert (start["type"], start["status"]) == ("websocket.http.response.start", 400)
    assert body["type"] == "websocket.http.response.body"
    assert await collect(Edge(App()), websocket(*TWO_HOSTS)) == [{"type": "websocket.close"}]


# --- control characters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a\n", "/\x00", "/a\rb", "/\x7f", "/é\x1f"])
async def test_path_with_a_control_character_is_not_found_on_the_async_side(path: str) -> None:
    app = App()
    start, _ = await collect(ControlCharacterGuard(app), http(path=path))

    assert (start["status"], app.scope) == (404, None)
    assert await collect(ControlCharacterGuard(app), websocket(path=path)) == [{"type": "websocket.close"}]


@pytest.mark.parametrize("path", ["/", "/a b", "/é", "/\u2028", "/\x80", "/%0A"])
async def test_path_without_one_passes(path: str) -> None:
    app = App()

    assert await collect(ControlCharacterGuard(app), http(path=path)) == []
    assert app.scope is not None


async def test_edge_leaves_control_characters_to_the_sides() -> None:
    await pass_through(http(path="/a\n", raw_path=b"/a%0A", raw_uri="/a%0A"))


async def test_guard_passes_lifespan() -> None:
    assert await collect(ControlCharacterGuard(App()), {"type": "lifespan"}) == []
