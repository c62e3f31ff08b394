import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from flask import Flask

from gateway.app import Gateway
from gateway.errors import RouteConflictError
from tests.gateway.apps import TOKEN, fetch, make_settings, running_gateway
from tests.gateway.plans import eventually
from tests.servers import RedisServer, find_free_port

DOCS = Path(__file__).parents[2] / "docs" / "control.md"
Start = Callable[..., Awaitable[Gateway]]


def flask_app() -> Flask:
    app = Flask("legacy", static_folder=None)
    for path in ("/a", "/b/<int:x>", "/old"):
        app.add_url_rule(path, path, lambda **_: "flask")
    return app


def fastapi_app() -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)
    app.get("/a")(lambda: "async")
    app.get("/b/{y}")(lambda y: "async")
    app.get("/new")(lambda: "async")
    return app


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Gateway:
            return await stack.enter_async_context(running_gateway(tmp_path, flask_app(), fastapi_app(), **settings))

        yield start


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    return await start()


def client_of(gateway: Gateway, token: str | None = TOKEN) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    base_url = f"http://gateway.test{gateway.settings.control_prefix}/"
    return httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url=base_url, headers=headers)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gateway) as client:
        yield client


def control_routes(gateway: Gateway) -> list[tuple[str, str]]:
    """Method and path below the prefix of everything that the control API has."""
    return [
        (method, path.removeprefix(gateway.settings.control_prefix))
        for path, operations in gateway.openapi()["paths"].items()
        for method in map(str.upper, operations)
    ]


# Who may do what.


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
async def test_every_route_but_health_needs_the_token(gateway: Gateway, token: str | None) -> None:
    body = {"endpoints": ["GET /a"], "stage": "async"}
    async with client_of(gateway, token) as client:
        answers = {
            route: (await client.request(*route, json=body if route[0] == "POST" else None)).status_code
            for route in ((method, path[1:]) for method, path in control_routes(gateway))
        }
    assert answers.pop(("GET", "health")) == 200
    assert set(answers.values()) == {401}
    assert gateway.follower.plan.version == 0


async def test_routes_are_these(gateway: Gateway) -> None:
    assert sorted(control_routes(gateway)) == [
        ("GET", "/endpoints"),
        ("GET", "/health"),
        ("GET", "/history"),
        ("GET", "/metrics"),
        ("GET", "/plan"),
        ("POST", "/stage"),
    ]


async def test_refusal_says_how_to_identify_oneself(gateway: Gateway) -> None:
    async with client_of(gateway, None) as client:
        answer = await client.get("plan")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"detail": "this needs the admin token as a bearer token: Authorization: Bearer …"}


@pytest.mark.parametrize("scheme", ["Basic", "Token", "bearer"])
async def test_only_the_bearer_scheme_counts(gateway: Gateway, scheme: str) -> None:
    answer = await fetch(gateway, "GET", "/_gateway/plan", headers=[("Authorization", f"{scheme} {TOKEN}")])
    assert answer.status == (200 if scheme == "bearer" else 401)


async def test_open_reads_open_no_more_than_reads(start: Start) -> None:
    gateway = await start(open_reads=True)
    async with client_of(gateway, None) as client:
        answers = {
            (method, path): (await client.request(method, path[1:], json={"endpoints": ["GET /a"], "stage": "async"}))
            for method, path in control_routes(gateway)
        }
    assert {route: answer.status_code for route, answer in answers.items() if answer.status_code != 200} == {
        ("POST", "/stage"): 401
    }


@pytest.mark.parametrize("environment", ["development"])
async def test_empty_token_opens_nothing(start: Start, environment: str) -> None:
    gateway = await start(admin_token="", environment=environment)
    for token in (None, ""):
        async with client_of(gateway, token) as client:
            assert (await client.get("plan")).status_code == 401
    headers = [("X-Gateway-Upstream", "async"), ("X-Gateway-Token", "")]
    assert (await fetch(gateway, "GET", "/a", headers=headers)).status == 403


# What it answers.


async def test_endpoints_say_what_is_where(gateway: Gateway, client: httpx.AsyncClient) -> None:
    await client.post("stage", json={"endpoints": ["GET /a"], "stage": "canary", "percent": 5})
    await fetch(gateway, "GET", "/old")
    await fetch(gateway, "DELETE", "/old")
    document = (await client.get("endpoints")).json()
    old = document["endpoints"][2]["traffic"].pop("legacy")
    assert document == {
        "plan_version": 1,
        "endpoints": [
            {"id": "GET /a", "stage": "canary", "percent": 5, "legacy": "/a", "target": "/a", "traffic": {}},
            {
                "id": "GET /b/{x}",
                "stage": "legacy",
                "percent": None,
                "legacy": "/b/<int:x>",
                "target": "/b/{y:str}",
                "traffic": {},
            },
            {"id": "GET /old", "stage": "legacy", "percent": None, "legacy": "/old", "target": None, "traffic": {}},
            {"id": "GET /new", "stage": "async", "percent": None, "legacy": None, "target": "/new", "traffic": {}},
        ],
    }
    assert (old["requests"], old["errors"]) == (1, 0)
    assert old["mean_ms"] > 0


@pytest.mark.parametrize(
    ("match", "found"),
    [
        (["GET /b/{other}"], ["GET /b/{x}"]),
        (["* /new", "GET /a"], ["GET /new", "GET /a"]),
        (["* /*", "GET /a"], ["GET /a", "GET /b/{x}", "GET /old", "GET /new"]),
    ],
)
async def test_endpoints_are_found_by_name_and_pattern(
    client: httpx.AsyncClient, match: list[str], found: list[str]
) -> None:
    document = (await client.get("endpoints", params={"match": match})).json()
    assert [endpoint["id"] for endpoint in document["endpoints"]] == found


async def test_endpoints_of_that_name_may_not_exist(client: httpx.AsyncClient) -> None:
    answer = await client.get("endpoints", params={"match": "GET /olt"})
    assert (answer.status_code, answer.json()) == (
        422,
        {"detail": "there is no endpoint 'GET /olt'; the nearest is 'GET /old'"},
    )


async def test_stage_moves_records_and_takes_effect_at_once(gateway: Gateway, client: httpx.AsyncClient) -> None:
    request = {"endpoints": ["* /*"], "stage": "async", "reason": "first look", "actor": "anna"}
    answer = await client.post("stage", json=request)
    legacy, target = {"stage": "legacy", "percent": None}, {"stage": "async", "percent": None}
    moves = [{"endpoint": name, "before": legacy, "after": target} for name in ("GET /a", "GET /b/{x}")]
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "plan_version": 1,
            "dry_run": False,
            "moves": moves,
            "unchanged": ["GET /new"],
            "skipped": {"GET /old": "'GET /old' cannot be moved to 'async': the async app has no such endpoint"},
        },
    )
    assert (await fetch(gateway, "GET", "/a")).text == "async"
    assert (await client.get("plan")).json() == {"version": 1, "placements": {"GET /a": target, "GET /b/{x}": target}}
    (change,) = (await client.get("history")).json()["changes"]
    assert change.pop("at").endswith("Z")
    assert change == {"version": 1, "actor": "anna", "reason": "first look", "moves": moves}


async def test_dry_run_moves_nothing(gateway: Gateway, client: httpx.AsyncClient) -> None:
    answer = await client.post("stage", json={"endpoints": ["GET /a"], "stage": "async", "dry_run": True})
    document = answer.json()
    assert (document["plan_version"], document["dry_run"], len(document["moves"])) == (0, True, 1)
    assert (await fetch(gateway, "GET", "/a")).text == "flask"
    assert (await client.get("history")).json() == {"changes": []}


async def test_change_that_changes_nothing_makes_no_history(client: httpx.AsyncClient) -> None:
    answer = await client.post("stage", json={"endpoints": ["GET /a"], "stage": "legacy"})
    assert answer.json()["unchanged"] == ["GET /a"]
    assert (await client.get("history")).json() == {"changes": []}


async def test_change_based_on_another_plan_is_refused(client: httpx.AsyncClient) -> None:
    request = {"endpoints": ["GET /a"], "stage": "async", "base_version": 0}
    assert (await client.post("stage", json=request)).status_code == 200
    refused = await client.post("stage", json=request | {"stage": "legacy"})
    assert (refused.status_code, refused.json()) == (409, {"detail": "the plan is at version 1 now, not 0"})
    accepted = await client.post("stage", json=request | {"stage": "legacy", "base_version": 1})
    assert accepted.json()["plan_version"] == 2


async def test_of_two_changes_at_once_one_wins(client: httpx.AsyncClient) -> None:
    requests = [
        client.post("stage", json={"endpoints": ["GET /a"], "stage": "async", "base_version": 0, "actor": actor})
        for actor in ("anna", "bert")
    ]
    answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len((await client.get("history")).json()["changes"]) == 1


async def test_change_by_another_gateway_is_not_overwritten(start: Start, tmp_path: Path) -> None:
    """Their plan is the store's; ours is a moment old."""
    ours, store = await start(), f"sqlite:///{tmp_path}/plan.db"
    async with running_gateway(tmp_path / "other", flask_app(), fastapi_app(), store=store) as theirs:
        request = {"endpoints": ["GET /a"], "stage": "async", "base_version": 0}
        async with client_of(ours) as our_client, client_of(theirs) as their_client:
            answers = await asyncio.gather(
                our_client.post("stage", json=request), their_client.post("stage", json=request)
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409]
            await eventually(lambda: ours.follower.plan == theirs.follower.plan)
            assert (await our_client.get("history")).json() == (await their_client.get("history")).json()


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({"endpoints": ["GET /zzzzzzzz"], "stage": "async"}, "there is no endpoint 'GET /zzzzzzzz'"),
        ({"endpoints": ["GET /old"], "stage": "async"}, "'GET /old' cannot be moved to 'async'"),
        ({"endpoints": ["GET /a"], "stage": "canary"}, "the stage 'canary' needs a percentage of callers"),
        ({"endpoints": ["GET /a"], "stage": "canary", "percent": 0}, "0 % is not a share of callers"),
        ({"endpoints": ["GET /a"], "stage": "canary", "percent": 101}, "101 % is not a share of callers"),
        ({"endpoints": ["GET /a"], "stage": "async", "percent": 5}, "a percentage belongs to the stage 'canary'"),
        ({"endpoints": ["GET /a"], "stage": "shadow"}, "the stage 'shadow' is not available in this version"),
        ({"endpoints": ["GET /a"], "stage": "nowhere"}, "Input should be 'legacy'"),
        ({"endpoints": [], "stage": "async"}, "at least 1 item"),
        ({"endpoints": ["GET /a"]}, "Field required"),
        ({"endpoints": "GET /a", "stage": "async"}, "valid list"),
        ({"endpoints": ["GET /a"], "stage": "async", "percentage": 5}, "Extra inputs are not permitted"),
        ({"endpoints": ["GET /a"], "stage": "async", "actor": ""}, "at least 1 character"),
        ({"endpoints": ["GET /a"], "stage": "async", "reason": "x" * 1001}, "at most 1000 characters"),
        ({"endpoints": ["GET /a"], "stage": "async", "base_version": "latest"}, "valid integer"),
    ],
)
async def test_change_that_makes_no_sense_is_refused_with_the_reason(
    client: httpx.AsyncClient, request_: dict[str, Any], detail: str
) -> None:
    answer = await client.post("stage", json=request_)
    assert answer.status_code == 422
    assert detail in json.dumps(answer.json()["detail"])
    assert (await client.get("plan")).json()["version"] == 0


async def test_history_is_paged_newest_first(client: httpx.AsyncClient) -> None:
    for stage in ("async", "legacy", "async"):
        await client.post("stage", json={"endpoints": ["GET /a"], "stage": stage})

    async def versions(**params: int) -> list[int]:
        return [change["version"] for change in (await client.get("history", params=params)).json()["changes"]]

    assert await versions() == [3, 2, 1]
    assert await versions(limit=2) == [3, 2]
    assert await versions(limit=2, before=2) == [1]
    assert await versions(before=1) == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "before=0", "before=99999999999999999999", "before=x"])
async def test_page_of_the_history_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"history?{query}")).status_code == 422


async def test_health_says_what_serves(gateway: Gateway, client: httpx.AsyncClient) -> None:
    document = (await client.get("health")).json()
    (worker,) = document.pop("workers")
    assert document == {
        "status": "ok",
        "version": gateway.version,
        "plan_version": 0,
        "store": gateway.store.description,
        "reason": None,
        "since": None,
    }
    assert (worker["plan_version"], worker["degraded"]) == (0, None)


async def test_metrics_are_prometheus_text(gateway: Gateway, client: httpx.AsyncClient) -> None:
    await fetch(gateway, "GET", "/a")
    answer = await client.get("metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'gateway_requests_total{endpoint="GET /a",status="2xx",upstream="legacy"} 1.0' in lines
    assert 'gateway_endpoint_stage{endpoint="GET /new",stage="async"} 1.0' in lines
    assert "gateway_store_up 1.0" in lines


# The document, and the way to it.


async def test_document_is_valid_openapi_and_open_to_all(gateway: Gateway) -> None:
    answer = await fetch(gateway, "GET", "/_gateway/openapi.json")
    document = OpenAPI.model_validate(answer.json)
    assert document.paths is not None
    routes = {route.path for route in gateway.routes if isinstance(route, APIRoute)}
    assert routes <= set(document.paths)
    unsecured = {
        path
        for path, item in answer.json["paths"].items()
        for operation in item.values()
        if operation.get("security") != [{"HTTPBearer": []}]
    }
    assert unsecured == {"/_gateway/health"}


@pytest.mark.skipif(not DOCS.exists(), reason="there is no page of the control API here")
async def test_every_route_is_documented(gateway: Gateway) -> None:
    text = DOCS.read_text()
    assert [route for route in control_routes(gateway) if f"`{route[0]} /_gateway{route[1]}" not in text] == []


@pytest.mark.parametrize("path", ["/_gateway/nothing", "/_gateway/docs", "/_gateway/plan/", "/_gateway/"])
async def test_unknown_path_is_answered_by_the_control_api(gateway: Gateway, path: str) -> None:
    answer = await fetch(gateway, "GET", path)
    assert (answer.status, answer.json) == (
        404,
        {"detail": "the control API has no such path: its openapi.json lists what there is"},
    )


async def test_prefix_can_be_moved_out_of_the_apps_way(tmp_path: Path) -> None:
    legacy = flask_app()
    legacy.add_url_rule("/_gateway/ours", "ours", lambda: "flask")
    with pytest.raises(RouteConflictError) as refusal:
        Gateway(make_settings(tmp_path), legacy=legacy)
    assert refusal.value.conflicts == (
        "the control API would hide 'GET /_gateway/ours': move it with GATEWAY_CONTROL_PREFIX",
    )
    async with running_gateway(tmp_path, legacy, None, control_prefix="/ops/gateway") as gateway:
        assert (await fetch(gateway, "GET", "/_gateway/ours")).text == "flask"
        assert (await fetch(gateway, "GET", "/ops/gateway/health")).json["status"] == "ok"
        assert (await fetch(gateway, "GET", "/ops/gateway/openapi.json")).status == 200


# Without its store.


async def test_store_that_is_away_at_the_start_leaves_everything_serving(start: Start) -> None:
    gateway = await start(store=f"redis://127.0.0.1:{find_free_port()}/0")
    async with client_of(gateway) as client:
        health = (await client.get("health")).json()
        changed = await client.post("stage", json={"endpoints": ["GET /a"], "stage": "async"})
        history = await client.get("history")
        metrics = (await client.get("metrics")).text
    assert (health["status"], bool(health["reason"]), health["since"][-1]) == ("degraded", True, "Z")
    for answer in (changed, history):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"].startswith("the plan's store is away: ")
    assert "gateway_store_up 0.0" in metrics.splitlines()
    assert (await fetch(gateway, "GET", "/a")).text == "flask"


async def test_store_that_comes_back_takes_changes_again(start: Start, own_server: RedisServer) -> None:
    gateway = await start(store=own_server.url)
    async with client_of(gateway) as client:
        await client.post("stage", json={"endpoints": ["GET /a"], "stage": "async"})
        own_server.kill()
        await eventually(lambda: gateway.follower.degraded is not None)
        refused = await client.post("stage", json={"endpoints": ["GET /a"], "stage": "legacy"})
        assert (refused.status_code, (await fetch(gateway, "GET", "/a")).text) == (503, "async")
        own_server.start()
        await eventually(lambda: gateway.follower.degraded is None)
        accepted = await client.post("stage", json={"endpoints": ["GET /a"], "stage": "legacy"})
        assert (accepted.status_code, (await fetch(gateway, "GET", "/a")).text) == (200, "flask")
        assert (await client.get("health")).json()["status"] == "ok"
