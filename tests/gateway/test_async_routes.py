from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse
from flask import Flask
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Host, Mount, NoMatchFound, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.async_routes import SelectedRoute, find_starlette, install, list_routes
from tests.gateway.apps import Answer, fetch, running_gateway


def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("async")


class Outer:
    """An ASGI middleware as most are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def hiding(app: ASGIApp) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return middleware


def listed(app: Any, **options: Any) -> list[tuple[str, str, set[str]]]:
    return [(route.type, route.template.typed(), set(route.methods)) for route in list_routes(app, **options)]


def test_routes_are_listed_in_the_apps_order_with_what_they_answer() -> None:
    class Items(HTTPEndpoint):
        def get(self, request: Request) -> Response: ...

        def delete(self, request: Request) -> Response: ...

    async def raw(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def feed(websocket: WebSocket) -> None: ...

    class Raw:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    app = Starlette(
        routes=[
            Route("/a", page),
            Route("/b/{x:int}", page, methods=["POST", "PUT"]),
            Route("/items", Items),
            Route("/raw", Raw()),
            WebSocketRoute("/feed/{x}", feed),
            Mount("/sub", routes=[Route("/{y}", page)]),
            Mount("/files", Raw()),
        ]
    )
    assert listed(app) == [
        ("http", "/a", {"GET", "HEAD"}),
        ("http", "/b/{x:int}", {"POST", "PUT"}),
        ("http", "/items", {"GET", "DELETE"}),
        ("http", "/raw", {"*"}),
        ("websocket", "/feed/{x:str}", {"GET"}),
        ("http", "/sub/{y:str}", {"GET", "HEAD"}),
        ("http", "/files/{path:path}", {"*"}),
    ]


def test_documentation_pages_are_listed_on_demand_only() -> None:
    api, sub = FastAPI(), FastAPI(docs_url="/manual")
    api.mount("/sub", sub)
    assert listed(api) == []
    assert [path for _, path, _ in listed(api, docs=True)] == [
        "/openapi.json",
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
        "/sub/openapi.json",
        "/sub/manual",
        "/sub/docs/oauth2-redirect",
        "/sub/redoc",
    ]


def test_route_of_ones_own_at_docs_is_listed_where_fastapis_is_off() -> None:
    api = FastAPI(docs_url=None)
    api.get("/docs")(lambda: "ours")
    assert listed(api) == [("http", "/docs", {"GET"})]


@pytest.mark.parametrize(
    "wrap", [lambda app: app, Outer, lambda app: Outer(GZipMiddleware(app)), lambda app: CORSMiddleware(Outer(app))]
)
def test_app_is_found_inside_middleware(wrap: Callable[[Any], Any]) -> None:
    app = Starlette(routes=[Route("/a", page)])
    assert find_starlette(wrap(app)) is app
    assert listed(wrap(app)) == [("http", "/a", {"GET", "HEAD"})]


def test_bare_router_is_an_app() -> None:
    assert listed(Router([Route("/a", page)])) == [("http", "/a", {"GET", "HEAD"})]


async def raw_app(scope: Scope, receive: Receive, send: Send) -> None: ...


@pytest.mark.parametrize("app", [raw_app, hiding(FastAPI()), Outer(raw_app)])
def test_app_that_is_not_starlettes_has_no_routes_to_list(app: ASGIApp) -> None:
    assert (listed(app), install(app)) == ([], False)


def test_annotations_say_what_the_path_leaves_open() -> None:
    api = FastAPI()

    @api.get("/{a}/{b}/{c}/{d}")
    def handler(a: int, b: UUID, c: float | None, d: str, q: int = 0) -> None: ...

    (route,) = list_routes(api)
    assert route.annotated == {"a": "int", "b": "uuid", "d": "str"}


def test_install_happens_once_for_each_router() -> None:
    inner = FastAPI()
    api = FastAPI(openapi_url=None)
    api.mount("/sub", inner)
    installed = [install(api), install(Outer(api))]
    found = [[type(route).__name__ for route in app.routes].count("SelectedRoute") for app in (api, inner)]
    assert (installed, found) == ([True, True], [1, 1])


def test_installed_route_changes_nothing_for_who_looks_at_the_app() -> None:
    def make() -> FastAPI:
        api = FastAPI()
        api.get("/items/{x}", name="item")(lambda x: x)
        return api

    plain, prepared = make(), make()
    install(prepared)
    assert prepared.openapi() == plain.openapi()
    assert prepared.url_path_for("item", x="1") == plain.url_path_for("item", x="1")
    with pytest.raises(NoMatchFound):
        prepared.url_path_for("nothing")
    assert SelectedRoute().path == ""


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask(tmp_path: Path) -> Ask:
    """A request to the async app through a gateway whose Flask app has nothing."""

    async def ask(target: ASGIApp, method: str, path: str, **scope: Any) -> Answer:
        async with running_gateway(tmp_path, Flask("legacy", static_folder=None), target) as gateway:
            return await fetch(gateway, method, path, **scope)

    return ask


async def test_installed_route_leaves_the_app_as_it_was_without_a_gateway() -> None:
    api = FastAPI()
    api.get("/x")(lambda: "async")
    api.get("/docs-free")(lambda: "async")
    install(api)
    answers = [await fetch(api, method, path) for method, path in [("GET", "/x"), ("PUT", "/x"), ("GET", "/y")]]
    assert [answer.status for answer in answers] == [200, 405, 404]


async def test_dependencies_of_every_router_on_the_way_run(ask: Ask) -> None:
    ran: list[str] = []

    def note(name: str) -> Any:
        return Depends(lambda: ran.append(name))

    inner, outer = APIRouter(dependencies=[note("inner")]), APIRouter(dependencies=[note("outer")])
    inner.get("/{x}", dependencies=[note("route")])(lambda x: x)
    outer.include_router(inner, prefix="/inner", dependencies=[note("inclusion")])
    api = FastAPI(dependencies=[note("app")])
    api.include_router(outer, prefix="/outer")
    assert (await ask(api, "GET", "/outer/inner/5")).text == '"5"'
    assert ran == ["app", "outer", "inclusion", "inner", "route"]


async def test_dependency_that_refuses_is_obeyed_and_overridden(ask: Ask) -> None:
    def guard() -> None:
        raise HTTPException(401, "no")

    router = APIRouter(dependencies=[Depends(guard)])
    router.get("/x")(lambda: "secret")
    api = FastAPI()
    api.include_router(router)
    assert (await ask(api, "GET", "/x")).status == 401
    api.dependency_overrides[guard] = lambda: None
    assert (await ask(api, "GET", "/x")).text == '"secret"'


async def test_one_router_included_twice_is_two_endpoints(ask: Ask) -> None:
    router = APIRouter()

    @router.get("/x")
    def where(request: Request) -> str:
        return request.url.path

    api = FastAPI(default_response_class=PlainTextResponse)
    for prefix in ("/a", "/b"):
        api.include_router(router, prefix=prefix)
    assert [(await ask(api, "GET", path)).text for path in ("/a/x", "/b/x")] == ["/a/x", "/b/x"]


async def test_mounted_app_sees_its_root_path_and_all_path_parameters(ask: Ask) -> None:
    def show(request: Request) -> PlainTextResponse:
        scope = request.scope
        return PlainTextResponse(f"{scope['root_path']} {scope['path']} {request.path_params}")

    deepest = Starlette(routes=[Route("/show", show, name="show")])
    deep = Starlette(routes=[Mount("/{y:int}", deepest)])
    app = Starlette(routes=[Mount("/{x}", Outer(deep))])
    expected = "/a/7 /a/7/show {'x': 'a', 'y': 7}"
    plain = await fetch(Starlette(routes=[Mount("/{x}", Outer(deep))]), "GET", "/a/7/show")
    assert plain.text == expected
    assert (await ask(app, "GET", "/a/7/show")).text == expected


async def test_mount_inside_an_included_router_is_reached_under_its_prefix(ask: Ask) -> None:
    router, api = APIRouter(), FastAPI()
    router.mount("/sub", Starlette(routes=[Route("/{x}", page)]))
    api.include_router(router, prefix="/v1")
    answer = await ask(api, "GET", "/v1/sub/a")
    assert (answer.status, answer.text, answer.side) == (200, "async", "async")


async def test_middleware_at_every_level_runs(ask: Ask) -> None:
    class Mark(BaseHTTPMiddleware):
        def __init__(self, app: ASGIApp, name: str) -> None:
            super().__init__(app)
            self.name = name

        async def dispatch(self, request: Any, call_next: Any) -> Response:
            response: Response = await call_next(request)
            response.headers.append("x-passed", self.name)
            return response

    app = Starlette(
        routes=[
            Mount(
                "/sub",
                routes=[Route("/a", page, middleware=[Middleware(Mark, name="route")])],
                middleware=[Middleware(Mark, name="mount")],
            )
        ],
        middleware=[Middleware(Mark, name="app")],
    )
    answer = await ask(app, "GET", "/sub/a")
    assert answer.headers.get_list("x-passed") == ["route", "mount", "app"]


async def test_handler_finds_its_route_and_endpoint_in_the_scope(ask: Ask) -> None:
    api = FastAPI()

    @api.get("/items/{x}")
    def item(request: Request) -> list[object]:
        scope = request.scope
        return [scope["route"].path, scope["endpoint"].__name__, scope["path_params"], type(scope["app"]).__name__]

    assert (await ask(api, "GET", "/items/a")).json == ["/items/{x}", "item", {"x": "a"}, "FastAPI"]


async def test_cross_origin_preflight_reaches_the_async_apps_middleware(ask: Ask) -> None:
    api = FastAPI()
    api.get("/x")(lambda: "async")
    api.add_middleware(CORSMiddleware, allow_origins=["https://front.test"])
    headers = [("Origin", "https://front.test"), ("Access-Control-Request-Method", "GET")]
    answer = await ask(api, "OPTIONS", "/x", headers=headers)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://front.test")


@pytest.mark.parametrize("make", [FastAPI, Starlette, Router])
async def test_refusals_look_as_the_app_makes_them(ask: Ask, make: Callable[[], Any]) -> None:
    def build() -> Any:
        app = make()
        app.routes.append(Route("/x", page, methods=["POST"]))
        app.routes.append(Route("/branch/", page))
        return app

    refused, plain = await ask(build(), "DELETE", "/x"), await fetch(build(), "DELETE", "/x")
    assert (refused.status, refused.text, refused.allow) == (405, plain.text, plain.allow)
    moved, plain = await ask(build(), "GET", "/branch?a=1"), await fetch(build(), "GET", "/branch?a=1")
    assert (moved.status, moved.headers["location"]) == (307, plain.headers["location"])


async def test_refusal_redirects_only_where_the_app_would(ask: Ask) -> None:
    api = FastAPI(redirect_slashes=False)
    api.get("/branch/")(lambda: "async")
    answer = await ask(api, "GET", "/branch")
    assert (answer.status, answer.text, answer.side) == (404, '{"detail":"Not Found"}', "async")


async def test_refusal_is_made_by_the_apps_own_handlers(ask: Ask) -> None:
    api = FastAPI(exception_handlers={405: lambda request, error: PlainTextResponse("not so", 405)})
    api.post("/x")(lambda: "async")
    assert (await ask(api, "GET", "/x")).text == "not so"


async def test_routes_behind_a_host_are_not_endpoints(ask: Ask) -> None:
    app = Starlette(routes=[Host("gateway.test", app=Router([Route("/x", page)]))])
    assert listed(app) == []
    assert (await ask(app, "GET", "/x")).status == 404
