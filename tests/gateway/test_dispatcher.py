import asyncio
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from flask import Flask, Response, request
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.app import Gateway
from gateway.endpoints import Side
from gateway.plan import Placement, Plan, Stage
from gateway.traffic import UNMATCHED
from tests.gateway.apps import TOKEN, Answer, call, fetch, http_scope, make_settings, move, running_gateway, serving
from tests.gateway.plans import eventually

Start = Callable[..., Awaitable[Gateway]]
Headers = list[tuple[str, str]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(legacy: Any, target: ASGIApp | None, *moved: str, **settings: Any) -> Gateway:
            gateway = await stack.enter_async_context(running_gateway(tmp_path, legacy, target, **settings))
            if moved:
                await move(gateway, moved)
            return gateway

        yield start


def flask_app() -> Flask:
    app = Flask("legacy", static_folder=None)
    app.add_url_rule("/x", "x", lambda: "flask")
    return app


def fastapi_app() -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)
    app.get("/x")(lambda: "async")
    return app


def count(gateway: Gateway, endpoint: str, side: Side) -> tuple[dict[str, int], int]:
    """Answers by status class, and broken ones."""
    series = gateway.traffic.series(endpoint, side)
    names = ("1xx", "2xx", "3xx", "4xx", "5xx")
    return {name: n for name, n in zip(names, series.statuses, strict=True) if n}, series.broken


async def test_answer_says_which_side_made_it(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app())
    sides = []
    for stage in ("legacy", "async", "legacy"):
        await move(gateway, ["GET /x"], stage)
        answer = await fetch(gateway, "GET", "/x")
        sides.append((answer.side, answer.text))
    assert sides == [("legacy", "flask"), ("async", "async"), ("legacy", "flask")]
    assert (await fetch(gateway, "GET", "/none")).side == "legacy"


@pytest.mark.parametrize(
    ("stage", "side"),
    [
        (Stage.LEGACY, "legacy"),
        (Stage.SHADOW, "legacy"),
        (Stage.VERIFY, "async"),
        (Stage.ASYNC, "async"),
        (Stage.RETIRED, "async"),
    ],
)
async def test_every_stage_has_its_side(start: Start, stage: Stage, side: str) -> None:
    gateway = await start(flask_app(), fastapi_app())
    gateway.dispatcher.use_plan(Plan(1, "r", {"GET /x": Placement(stage)}))
    assert (await fetch(gateway, "GET", "/x")).side == side


async def test_stage_that_an_endpoint_cannot_have_does_not_count(start: Start) -> None:
    gateway = await start(flask_app(), FastAPI())
    gateway.dispatcher.use_plan(Plan(1, "r", {"GET /x": Placement(Stage.ASYNC), "GET /gone": Placement(Stage.ASYNC)}))
    assert (await fetch(gateway, "GET", "/x")).side == "legacy"


async def test_canary_serves_its_share_of_callers_and_each_the_same_side(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app(), canary_key="header:x-user")
    sides: dict[int, dict[str, str | None]] = {}
    for percent in (30, 60):
        await move(gateway, ["GET /x"], "canary", percent)
        for _ in range(2):
            answers = {
                name: (await fetch(gateway, "GET", "/x", headers=[("x-user", name)])).side
                for name in map(str, range(100))
            }
            assert sides.setdefault(percent, answers) == answers
    members = [{name for name, side in sides[percent].items() if side == "async"} for percent in (30, 60)]
    assert members[0] < members[1]
    assert [len(group) for group in members] == pytest.approx([30, 60], abs=12)


async def test_canary_knows_callers_by_address_where_nothing_else_tells(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app())
    await move(gateway, ["GET /x"], "canary", 50)
    clients = [(f"192.0.2.{number}", 1) for number in range(40)]
    sides = [{(await fetch(gateway, "GET", "/x", client=client)).side for _ in range(2)} for client in clients]
    assert all(len(found) == 1 for found in sides)
    assert {side for found in sides for side in found} == {"legacy", "async"}
    assert (await fetch(gateway, "GET", "/x", client=None)).status == 200


async def test_timing_says_how_long_queue_and_handler_took(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app())
    legacy = await fetch(gateway, "GET", "/x")
    await move(gateway, ["GET /x"])
    target = await fetch(gateway, "GET", "/x")
    assert re.fullmatch(r"queue;dur=\d+\.\d\d, handler;dur=\d+\.\d\d", legacy.headers["server-timing"])
    assert re.fullmatch(r"handler;dur=\d+\.\d\d", target.headers["server-timing"])


@pytest.mark.parametrize("stage", ["legacy", "async"])
async def test_headers_of_the_upstream_stay(start: Start, stage: str) -> None:
    pairs = [("x-a", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server-timing", "db;dur=1"), ("etag", '"e"')]
    legacy, api = Flask("legacy", static_folder=None), FastAPI()
    legacy.add_url_rule("/h", "h", lambda: Response("body", headers=pairs))

    @api.get("/h")
    def h() -> PlainTextResponse:
        answer = PlainTextResponse("body")
        for name, value in pairs:
            answer.headers.append(name, value)
        return answer

    gateway = await start(legacy, api)
    await move(gateway, ["GET /h"], stage)
    headers = (await fetch(gateway, "GET", "/h")).headers
    given = [pair for pair in headers.multi_items() if pair in pairs]
    assert sorted(given) == sorted(pairs)
    assert len(headers.get_list("server-timing")) == 2


async def test_request_ids_are_made_and_differ(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app())
    ids = [(await fetch(gateway, "GET", path)).headers["x-request-id"] for path in ("/x", "/x", "/none")]
    assert all(re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", text) for text in ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("client", "given", "taken"),
    [
        (("10.1.2.3", 1), "trace-1", True),
        (("fd00::7", 1), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (("192.0.2.7", 1), "trace-1", False),
        (("10.1.2.3", 1), "x" * 129, False),
        (("10.1.2.3", 1), 'two words"', False),
        (("10.1.2.3", 1), "", False),
        (("/run/nginx.sock", 0), "trace-1", False),
        (None, "trace-1", False),
    ],
)
async def test_request_id_is_taken_over_from_a_trusted_proxy_only(
    start: Start, client: tuple[str, int] | None, given: str, taken: bool
) -> None:
    gateway = await start(flask_app(), None, trusted_proxies="10.0.0.0/8, fd00::/8")
    answer = await fetch(gateway, "GET", "/x", headers=[("X-Request-ID", given)], client=client)
    assert (answer.headers["x-request-id"] == given) is taken


async def test_request_id_is_taken_over_from_nobody_by_default(start: Start) -> None:
    gateway = await start(flask_app(), None)
    answer = await fetch(gateway, "GET", "/x", headers=[("X-Request-ID", "trace-1")], client=("127.0.0.1", 1))
    assert answer.headers["x-request-id"] != "trace-1"


FORCED = [("legacy", "flask"), ("async", "async")]


@pytest.mark.parametrize(("side", "text"), FORCED)
@pytest.mark.parametrize("stage", ["legacy", "async"])
async def test_side_is_forced_with_the_token(start: Start, stage: str, side: str, text: str) -> None:
    gateway = await start(flask_app(), fastapi_app())
    await move(gateway, ["GET /x"], stage)
    headers = [("X-Gateway-Upstream", side), ("X-Gateway-Token", TOKEN)]
    answer = await fetch(gateway, "GET", "/x", headers=headers)
    assert (answer.status, answer.text, answer.side) == (200, text, side)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "\xe9"])
async def test_side_is_not_forced_without_the_token(start: Start, token: str | None) -> None:
    gateway = await start(flask_app(), fastapi_app())
    headers = [("X-Gateway-Upstream", "async")] + ([("X-Gateway-Token", token)] if token is not None else [])
    answer = await fetch(gateway, "GET", "/x", headers=headers)
    assert (answer.status, answer.json) == (
        403,
        {"detail": "X-Gateway-Upstream needs the admin token in X-Gateway-Token"},
    )


@pytest.mark.parametrize(
    ("path", "side", "status", "detail"),
    [
        ("/x", "new", 400, "X-Gateway-Upstream must be 'legacy' or 'async', not 'new'"),
        ("/old", "async", 404, "cannot force the async side: 'GET /old' is not there"),
        ("/new", "legacy", 404, "cannot force the legacy side: 'GET /new' is not there"),
        ("/none", "legacy", 404, "cannot force the legacy side: no endpoint matches this request"),
        ("/none", "async", 404, "cannot force the async side: no endpoint matches this request"),
    ],
)
async def test_side_that_cannot_answer_is_not_forced(
    start: Start, path: str, side: str, status: int, detail: str
) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/old", "old", lambda: "flask")
    api.get("/new")(lambda: "async")
    gateway = await start(legacy, api)
    headers = [("X-Gateway-Upstream", side), ("X-Gateway-Token", TOKEN)]
    answer = await fetch(gateway, "GET", path, headers=headers)
    assert (answer.status, answer.json) == (status, {"detail": detail})


@pytest.mark.parametrize("side", ["legacy", "async"])
@pytest.mark.parametrize("forced", [True, False])
async def test_token_never_reaches_an_upstream(start: Start, side: str, forced: bool) -> None:
    legacy, api = Flask("legacy", static_folder=None), FastAPI()
    legacy.add_url_rule("/h", "h", lambda: dict(request.headers))

    @api.get("/h")
    def h(request: Request) -> dict[str, str]:
        return dict(request.headers)

    gateway = await start(legacy, api)
    await move(gateway, ["GET /h"], side)
    headers = [("X-Gateway-Token", TOKEN), ("X-Other", "stays")] + ([("X-Gateway-Upstream", side)] if forced else [])
    seen = {name.lower(): value for name, value in (await fetch(gateway, "GET", "/h", headers=headers)).json.items()}
    assert seen == {"host": "gateway.test", "x-other": "stays"}


async def test_endpoint_is_counted_under_its_name_and_side(start: Start) -> None:
    gateway = await start(flask_app(), fastapi_app())
    for method, path in [("GET", "/x"), ("HEAD", "//x"), ("DELETE", "/x"), ("GET", "/none")]:
        await fetch(gateway, method, path)
    await move(gateway, ["GET /x"])
    await fetch(gateway, "GET", "/x")
    assert count(gateway, "GET /x", Side.LEGACY) == ({"2xx": 2}, 0)
    assert count(gateway, "GET /x", Side.ASYNC) == ({"2xx": 1}, 0)
    assert count(gateway, UNMATCHED, Side.LEGACY) == ({"4xx": 2}, 0)


async def test_error_of_the_async_app_is_answered_and_counted(start: Start) -> None:
    api = FastAPI()

    @api.get("/fails")
    def fails() -> None:
        raise RuntimeError("the app's own trouble")

    gateway = await start(Flask("legacy"), api)
    with pytest.raises(RuntimeError, match="the app's own trouble"):
        await fetch(gateway, "GET", "/fails")
    assert count(gateway, "GET /fails", Side.ASYNC) == ({"5xx": 1}, 0)


async def test_error_of_flask_is_its_own_500(start: Start) -> None:
    legacy = Flask("legacy", static_folder=None)
    legacy.add_url_rule("/fails", "fails", lambda: 1 / 0)
    gateway = await start(legacy, None)
    answer = await fetch(gateway, "GET", "/fails")
    assert (answer.status, answer.side) == (500, "legacy")
    assert count(gateway, "GET /fails", Side.LEGACY) == ({"5xx": 1}, 0)


async def test_app_that_fails_before_its_answer_is_counted_as_broken(start: Start) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raise RuntimeError("no answer")

    gateway = await start(None, fails)
    with pytest.raises(RuntimeError, match="no answer"):
        await fetch(gateway, "GET", "/x")
    assert count(gateway, UNMATCHED, Side.ASYNC) == ({}, 1)


async def test_app_that_fails_within_its_answer_is_counted_as_broken(start: Start) -> None:
    api = FastAPI()

    @api.get("/half")
    def half() -> StreamingResponse:
        def body() -> Iterator[str]:
            yield "half"
            raise RuntimeError("no more")

        return StreamingResponse(body())

    gateway = await start(Flask("legacy"), api)
    with pytest.raises(RuntimeError, match="no more"):
        await fetch(gateway, "GET", "/half")
    assert count(gateway, "GET /half", Side.ASYNC) == ({}, 1)


async def test_full_queue_is_refused_with_when_to_try_again(start: Start) -> None:
    entered, may_leave = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        may_leave.wait(10)
        return "done"

    legacy = Flask("legacy", static_folder=None)
    legacy.add_url_rule("/slow", "slow", slow)
    gateway = await start(legacy, fastapi_app(), legacy_threads=1, legacy_queue=0)
    first = asyncio.create_task(fetch(gateway, "GET", "/slow"))
    assert await asyncio.to_thread(entered.wait, 10)
    refused = await fetch(gateway, "GET", "/slow")
    beside = await fetch(gateway, "GET", "/x")
    may_leave.set()
    assert (await first).text == "done"
    assert (refused.status, refused.headers["retry-after"], refused.side) == (503, "1", "legacy")
    assert "its queue is full" in refused.json["detail"]
    assert beside.text == "async"
    await eventually(lambda: gateway.board.total_gauges()["gateway_legacy_busy_threads"] == 0)
    assert (await fetch(gateway, "GET", "/slow")).text == "done"
    assert count(gateway, "GET /slow", Side.LEGACY) == ({"2xx": 2, "5xx": 1}, 0)


async def test_request_beyond_what_the_async_convertor_takes_stays_with_flask(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own code may still be stricter than Flask's, which had the path until now."""

    class Even(Convertor[int]):
        regex = "[0-9]+"

        def convert(self, value: str) -> int:
            if int(value) % 2:
                raise ValueError(value)
            return int(value)

    register_url_convertor("even", Even())
    legacy, api = Flask("legacy", static_folder=None), FastAPI()
    legacy.url_map.converters["even"] = legacy.url_map.converters["int"]
    legacy.add_url_rule("/n/<even:n>", "n", lambda n: f"flask {n}")
    api.get("/n/{n:even}")(lambda n: n)
    gateway = await start(legacy, api, "GET /n/{n}")
    answers = [await fetch(gateway, "GET", path) for path in ("/n/4", "/n/5")]
    assert [(answer.text, answer.side) for answer in answers] == [("4", "async"), ("flask 5", "legacy")]
    assert "'GET /n/{n}'" in caplog.text


async def test_body_reaches_the_chosen_side(start: Start) -> None:
    legacy, api = Flask("legacy", static_folder=None), FastAPI(default_response_class=PlainTextResponse)
    legacy.add_url_rule("/e", "e", lambda: f"flask {request.get_data(as_text=True)}", methods=["POST"])

    @api.post("/e")
    async def e(request: Request) -> str:
        return f"async {(await request.body()).decode()}"

    gateway = await start(legacy, api)
    headers = [("Content-Length", "4")]
    texts = []
    for stage in ("legacy", "async"):
        await move(gateway, ["POST /e"], stage)
        texts.append((await fetch(gateway, "POST", "/e", body=b"body", headers=headers)).text)
    assert texts == ["flask body", "async body"]


async def test_path_below_a_root_path_is_matched_on_either_side(start: Start) -> None:
    legacy, api = Flask("legacy", static_folder=None), FastAPI(default_response_class=PlainTextResponse)
    legacy.add_url_rule("/f", "f", lambda: f"flask {request.script_root} {request.path}")

    @api.get("/a")
    def a(request: Request) -> str:
        return f"async {request.scope['root_path']} {request.url.path}"

    gateway = await start(legacy, api)
    answers = [await fetch(gateway, "GET", path, root_path="/api") for path in ("/f", "/a", "/_gateway/health")]
    assert [answer.text for answer in answers[:2]] == ["flask /api /f", "async /api /api/a"]
    assert answers[2].json["status"] == "ok"


async def test_path_that_only_begins_like_the_root_path_is_not_below_it(start: Start) -> None:
    legacy = Flask("legacy", static_folder=None)
    legacy.add_url_rule("/x", "x", lambda: "x")
    legacy.add_url_rule("/apix", "apix", lambda: f"apix {request.script_root}")
    gateway = await start(legacy, None)
    answer = await call(gateway, http_scope("GET", "/apix") | {"root_path": "/api"})
    assert answer.text == "apix /api"


async def test_newline_opens_no_second_door_once_flask_is_gone(start: Start) -> None:
    gateway = await start(None, fastapi_app())
    answers = [await fetch(gateway, "GET", path) for path in ("/x", "/x%0A", "/%0Ax")]
    assert [answer.status for answer in answers] == [200, 404, 404]


async def test_control_prefix_ends_at_a_slash(start: Start) -> None:
    legacy = Flask("legacy", static_folder=None)
    legacy.add_url_rule("/_gatewayish", "x", lambda: "flask")
    gateway = await start(legacy, None)
    paths = ("/_gatewayish", "/_gateway", "/_gateway/", "/_gateway/nothing")
    answers: list[Answer] = [await fetch(gateway, "GET", path) for path in paths]
    assert [answer.status for answer in answers] == [200, 404, 404, 404]
    assert [answer.side for answer in answers] == ["legacy", "legacy", None, None]


# WebSockets, through a real server: only that shows what a client sees of a refusal.


def feeds() -> Starlette:
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        text = await websocket.receive_text()
        state = getattr(websocket.state, "greeting", "no state")
        await websocket.send_text(f"{text} {websocket.path_params} {state}")
        await websocket.close()

    inner = Starlette(routes=[WebSocketRoute("/feed/{name}", feed)])
    return Starlette(routes=[WebSocketRoute("/feed/{number:int}", feed), Mount("/sub", inner)])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterable[str]:
    gateway = Gateway(make_settings(tmp_path_factory.mktemp("state")), legacy=flask_app(), target=feeds())
    with serving(gateway) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("/feed/7", "hello {'number': 7} no state"),
        ("//feed/7", "hello {'number': 7} no state"),
        ("/sub/feed/a", "hello {'name': 'a'} no state"),
        ("//sub/feed/a", "hello {'name': 'a'} no state"),
    ],
)
async def test_websocket_reaches_its_route(address: str, path: str, reply: str) -> None:
    async with connect(f"ws://{address}{path}") as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == reply


@pytest.mark.parametrize("path", ["/x", "/none", "/feed/seven", "/feed/7%0A", "/feed/7/"])
async def test_websocket_to_anything_else_is_refused_cleanly(address: str, path: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(f"ws://{address}{path}"):
            pass
    response = refusal.value.response
    assert (response.status_code, response.body) == (404, b"no WebSocket here\n")
