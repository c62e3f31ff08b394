import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule

from gateway.app import Gateway
from gateway.async_map import async_rule
from gateway.endpoints import Endpoint, Side
from gateway.errors import RouteConflictError
from gateway.plan import Placement, Plan, Stage
from gateway.table import MAX_REMEMBERED, EndpointTable, Match, build_table
from tests.gateway.apps import fetch, make_settings, move, running_gateway


def view(**values: Any) -> str:
    return "flask"


def flask_app(*rules: str, methods: tuple[str, ...] = ("GET",)) -> Flask:
    app = Flask("legacy", static_folder=None)
    for rule in rules:
        app.add_url_rule(rule, rule, view, methods=list(methods))
    return app


def fastapi_app(*paths: str, methods: tuple[str, ...] = ("GET",)) -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)
    for path in paths:
        app.api_route(path, methods=list(methods))(lambda: "async")
    return app


def ask(table: EndpointTable, method: str, path: str, host: str | None = None) -> tuple[str | None, str]:
    match = table.match(method, path, "http", host)
    return match.endpoint and match.endpoint.id, match.side.value


def test_each_side_keeps_what_it_alone_has() -> None:
    table = build_table(flask_app("/old", "/both"), fastapi_app("/new", "/both"))
    assert [(e.id, e.initial.stage.value) for e in table.endpoints.values()] == [
        ("GET /old", "legacy"),
        ("GET /both", "legacy"),
        ("GET /new", "async"),
    ]
    paths = ("/old", "/both", "/new", "/none")
    assert [ask(table, "GET", path) for path in paths] == [
        ("GET /old", "legacy"),
        ("GET /both", "legacy"),
        ("GET /new", "async"),
        (None, "legacy"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "side", "allow"),
    [
        ("GET", "/none", "legacy", set()),
        ("DELETE", "/old", "legacy", set()),
        ("DELETE", "/new", "async", {"GET", "HEAD"}),
        ("OPTIONS", "/new", "async", {"GET", "HEAD"}),
        ("GET", "/branch", "async", set()),
        ("DELETE", "/branch", "async", set()),
        ("GET", "/new/", "legacy", set()),
        ("GET", "/redirected", "legacy", set()),
        ("OPTIONS", "/old", "legacy", set()),
        ("DELETE", "/mixed", "legacy", {"GET", "HEAD"}),
        ("OPTIONS", "/mixed", "legacy", {"GET", "HEAD"}),
    ],
)
def test_request_without_an_endpoint_goes_where_its_refusal_is_made(
    method: str, path: str, side: str, allow: set[str]
) -> None:
    legacy = flask_app("/old", "/redirected/")
    legacy.add_url_rule("/mixed", "mixed", view, methods=["POST"])
    table = build_table(legacy, fastapi_app("/new", "/branch/", "/mixed"))
    assert table.match(method, path, "http", None) == Match(None, {}, Side(side), frozenset(allow))


def test_match_gives_values_under_the_names_of_the_side_that_matched() -> None:
    table = build_table(flask_app("/old/<int:number>"), fastapi_app("/old/{n}", "/new/{x:int}"))
    old, new = (table.match("GET", path, "http", None) for path in ("/old/7", "/new/7"))
    assert (old.values, new.values) == ({"number": 7}, {"x": 7})
    assert old.endpoint is not None
    assert old.endpoint.route is not None
    assert old.endpoint.path_params(old.endpoint.route, old.values, "/old/7") == {"n": "7"}


def test_rules_that_repeat_a_path_share_its_endpoint() -> None:
    legacy = flask_app("/x/<int:a>")
    legacy.add_url_rule("/x/<int:a>", "again", view, methods=["GET", "POST"])
    table = build_table(legacy, fastapi_app("/x/{a}"))
    assert list(table.endpoints) == ["GET /x/{a}", "POST /x/{a}"]
    assert [ask(table, method, "/x/7")[0] for method in ("GET", "POST")] == ["GET /x/{a}", "POST /x/{a}"]


def test_without_a_legacy_app_unknown_requests_are_the_async_apps() -> None:
    table = build_table(None, fastapi_app("/x"))
    assert [ask(table, "GET", path) for path in ("/x", "//x", "/none")] == [
        ("GET /x", "async"),
        ("GET /x", "async"),
        (None, "async"),
    ]


def test_without_an_async_app_everything_is_legacy() -> None:
    table = build_table(flask_app("/x"), None)
    assert [ask(table, method, "/x") for method in ("GET", "PUT")] == [("GET /x", "legacy"), (None, "legacy")]


def test_opaque_legacy_app_is_presumed_to_have_every_endpoint() -> None:
    table = build_table(lambda environ, start_response: [], fastapi_app("/x/{a}"))
    (endpoint,) = table.endpoints.values()
    assert (endpoint.presumed, endpoint.initial) == (True, Placement(Stage.LEGACY))
    assert ask(table, "GET", "/x/7") == ("GET /x/{a}", "async")  # its stage then says legacy
    assert [ask(table, *request) for request in (("GET", "/none"), ("PUT", "/x/7"))] == [(None, "legacy")] * 2


async def test_opaque_legacy_app_answers_until_its_endpoint_is_moved(tmp_path: Path) -> None:
    def legacy(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"opaque ", environ["PATH_INFO"].encode()]

    api = FastAPI(default_response_class=PlainTextResponse)
    api.get("/x/{a}")(lambda a: f"async {a}")
    async with running_gateway(tmp_path, legacy, api) as gateway:
        before = [(await fetch(gateway, "GET", path)).text for path in ("/x/7", "/y")]
        await move(gateway, ["GET /x/{a}"])
        after = [(await fetch(gateway, "GET", path)).text for path in ("/x/7", "//x/7", "/y")]
    assert (before, after) == (["opaque /x/7", "opaque /y"], ["async 7", "async 7", "opaque /y"])


def test_untrusted_host_gets_no_endpoint_of_either_side() -> None:
    legacy = flask_app("/old")
    legacy.config["TRUSTED_HOSTS"] = ["shop.test"]
    table = build_table(legacy, fastapi_app("/new"))
    assert [ask(table, "GET", path, "evil.test") for path in ("/old", "/new")] == [(None, "legacy")] * 2
    assert [ask(table, "GET", path, "shop.test") for path in ("/old", "/new")] == [
        ("GET /old", "legacy"),
        ("GET /new", "async"),
    ]


def test_rule_added_after_the_start_is_flasks() -> None:
    legacy = flask_app("/old")
    table = build_table(legacy, fastapi_app("/{x}"))
    assert ask(table, "GET", "/late") == ("GET /{x}", "async")
    legacy.url_map.add(Rule("/late", endpoint="/old", methods=["GET"]))
    assert ask(table, "GET", "/late") == (None, "legacy")


def test_docs_are_endpoints_on_demand_only() -> None:
    assert list(build_table(flask_app(), FastAPI()).endpoints) == []
    assert list(build_table(flask_app(), FastAPI(), docs=True).endpoints) == [
        f"GET {path}" for path in ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")
    ]


def test_documentation_that_would_hide_flasks_stops_the_start() -> None:
    with pytest.raises(RouteConflictError, match="'GET /docs' is only on the async side"):
        build_table(flask_app("/<page>"), FastAPI(), docs=True)


@pytest.mark.parametrize(
    ("path", "params"),
    [("/feed/7", {"x": "7"}), ("//feed/7", {"x": "7"}), ("/number/7", {"n": 7}), ("/number/x", None), ("/x", None)],
)
def test_websocket_routes_are_matched_apart_from_requests(path: str, params: dict[str, Any] | None) -> None:
    async def feed(websocket: Any) -> None: ...

    target = Starlette(routes=[WebSocketRoute("/feed/{x}", feed), WebSocketRoute("/number/{n:int}", feed)])
    table = build_table(flask_app("/x", "/feed/<x>"), target)
    found = table.match_websocket(path)
    assert (found and found[1]) == params
    assert ask(table, "GET", "/feed/7") == ("GET /feed/{x}", "legacy")


# What Flask does with a request, whatever else is in the gateway: random small apps and requests.


@dataclass(frozen=True)
class Segment:
    """One part of a path in both notations, and what the handler's signature says of it."""

    rule: str
    path: str
    annotation: type = str


STATIC = [Segment(text, text) for text in ("a", "b", "me")]
VARIABLE = [
    Segment("<{}>", "{{{}}}"),
    Segment("<int:{}>", "{{{}}}", int),
    Segment("<int:{}>", "{{{}:int}}", int),
    Segment("<int(signed=True):{}>", "{{{}}}", int),
    Segment("<float:{}>", "{{{}}}", float),
    Segment("<any(a, b):{}>", "{{{}}}"),
    Segment("<string(length=2):{}>", "{{{}}}"),
    Segment("<path:{}>", "{{{}:path}}"),
]
TEXTS = ["a", "b", "me", "ab", "5", "-5", "1.5", "\u0665", "x\n", "", "%", "a b"]
METHODS = ("GET", "HEAD", "POST", "OPTIONS")


@dataclass(frozen=True)
class Route:
    segments: tuple[Segment, ...]
    slash: str
    strict: bool
    methods: tuple[str, ...]

    @property
    def rule(self) -> str:
        return "/" + "/".join(s.rule.format(f"f{i}") for i, s in enumerate(self.segments)) + self.slash

    @property
    def path(self) -> str:
        return "/" + "/".join(s.path.format(f"s{i}") for i, s in enumerate(self.segments)) + self.slash


routes = st.builds(
    Route,
    segments=st.lists(st.sampled_from(STATIC * 2 + VARIABLE), min_size=1, max_size=3).map(tuple),
    slash=st.sampled_from(["", "", "/"]),
    strict=st.booleans(),
    methods=st.sampled_from([("GET",), ("POST",), ("GET", "POST"), ("HEAD",), ("OPTIONS",)]),
)
bounded = settings(derandomize=True, max_examples=60, deadline=None)


@dataclass(frozen=True)
class Case:
    legacy: Flask
    target: FastAPI
    paths: list[str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A Flask app and a FastAPI app which have some routes in common, and paths that resemble them."""
    legacy = draw(st.lists(routes, min_size=1, max_size=5))
    target = [
        *draw(st.lists(st.sampled_from(legacy), max_size=3, unique=True)),
        *draw(st.lists(routes, max_size=3)),
    ]
    paths = [draw_path(draw, draw(st.sampled_from(legacy + target))) for _ in range(8)]
    return Case(make_flask(legacy), make_fastapi(target), paths)


def draw_path(draw: st.DrawFn, route: Route) -> str:
    texts = [
        draw(st.sampled_from(TEXTS)) if segment in VARIABLE or draw(st.integers(0, 9)) == 0 else segment.path
        for segment in route.segments
    ]
    return draw(st.sampled_from(["/", "/", "//"])) + "/".join(texts) + draw(st.sampled_from(["", route.slash, "/"]))


def make_flask(routes: list[Route]) -> Flask:
    app = Flask("legacy", static_folder=None)
    for number, route in enumerate(routes):
        app.add_url_rule(
            route.rule,
            str(number),
            view,
            methods=list(route.methods),
            strict_slashes=route.strict,
        )
    return app


def make_fastapi(routes: list[Route]) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    for route in routes:
        annotations = {f"s{i}": s.annotation for i, s in enumerate(route.segments) if s.path.startswith("{")}
        app.api_route(route.path, methods=list(route.methods))(make_handler(annotations))
    return app


def make_handler(annotations: dict[str, type]) -> Any:
    arguments = ", ".join(f"{name}: {kind.__name__}" for name, kind in annotations.items())
    namespace: dict[str, Any] = {}
    exec(f"def handler({arguments}): return [{', '.join(annotations)}]", namespace)
    return namespace["handler"]


def ask_flask(legacy: Flask, method: str, path: str) -> tuple[str, Rule | None]:
    """What Flask alone would do."""
    try:
        rule, _ = legacy.url_map.bind("localhost").match(path, method, return_rule=True)
    except RequestRedirect:
        return "redirect", None
    except MethodNotAllowed:
        return "not allowed", None
    except HTTPException:
        return "not found", None
    return "rule", rule


def check(table: EndpointTable, legacy: Flask, method: str, path: str) -> None:
    """What Flask answers alone is never given to an endpoint of the async side alone."""
    outcome, rule = ask_flask(legacy, method, path)
    match = table.match(method, path, "http", None)
    if outcome == "redirect":
        assert match[::2] == (None, Side.LEGACY)
    elif rule is not None:
        assert match.side is Side.LEGACY
        if match.endpoint is None:
            assert method == "OPTIONS"
        else:
            assert match.endpoint.rule is not None
            assert match.endpoint.rule.text == rule.rule
            assert match.endpoint.method in (method, "GET" if method == "HEAD" else method)
    elif match.endpoint is not None:
        assert match.endpoint.rule is None


@bounded
@given(cases())
def test_what_flask_answers_alone_is_its_endpoints(case: Case) -> None:
    try:
        table = build_table(case.legacy, case.target)
    except RouteConflictError:
        table = build_table(case.legacy, case.target, declared_overlaps={"*": "legacy"})
    for path in case.paths:
        for method in METHODS:
            check(table, case.legacy, method, path)


@bounded
@given(cases())
def test_what_is_given_up_was_declared(case: Case) -> None:
    table = build_table(case.legacy, case.target, declared_overlaps={"*": "async"})
    overlapping = {overlap.endpoint for overlap in table.overlaps}
    for path in case.paths:
        for method in METHODS:
            match = table.match(method, path, "http", None)
            if match.endpoint not in overlapping:
                check(table, case.legacy, method, path)


@bounded
@given(cases())
def test_every_path_that_the_async_side_would_take_is_reported(case: Case) -> None:
    table = build_table(case.legacy, case.target, declared_overlaps={"*": "legacy"})
    reported = {(overlap.endpoint.id, overlap.rule.text) for overlap in table.overlaps}
    alone = [endpoint for endpoint in table.endpoints.values() if endpoint.rule is None]
    for path in case.paths:
        for endpoint in alone:
            _, rule = ask_flask(case.legacy, endpoint.method, path)
            if rule is not None and prefers(endpoint, rule, path):
                assert (endpoint.id, rule.rule) in reported


def prefers(endpoint: Endpoint, rule: Rule, path: str) -> bool:
    """Whether Werkzeug would choose the async endpoint, were its route beside the rule in one map."""
    assert endpoint.route is not None
    both = Map([async_rule(endpoint.route, "async", methods=[endpoint.method]), rule.empty()])
    try:
        winner, _ = both.bind("localhost").match(path, endpoint.method)
    except HTTPException:
        return False
    return bool(winner == "async")


@bounded
@given(cases())
def test_moved_endpoint_gets_the_values_that_flask_got(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    flags = {"overlaps": {"*": "legacy"}}
    gateway = Gateway(make_settings(tmp_path_factory.getbasetemp(), **flags), legacy=case.legacy, target=case.target)
    everything = {name: Placement(Stage.ASYNC) for name in gateway.table.endpoints}
    gateway.dispatcher.use_plan(Plan(1, "r", everything))
    requests = [
        (method, path)
        for path in case.paths
        for method in ("GET", "POST")
        if is_moved_faithfully(gateway.table.match(method, path, "http", None).endpoint)
    ]
    for method, path in requests:
        _, values = case.legacy.url_map.bind("localhost").match(path, method)
        answer = asyncio.run(fetch(gateway, method, quote(path)))
        assert (answer.side, answer.json) == ("async", [values[name] for name in sorted(values)])


def is_moved_faithfully(endpoint: Endpoint | None) -> bool:
    """Whether both sides have it, and the handler's signature agrees with the rule on what the values are."""
    if endpoint is None or endpoint.rule is None or endpoint.route is None:
        return False
    annotated = endpoint.route.annotated.values()
    kinds = (parameter.kind for parameter in endpoint.rule.template.parameters)
    return all(ours in ("str", theirs) for ours, theirs in zip(annotated, kinds, strict=True))


def test_repeated_paths_are_matched_alike_and_remembered_within_bounds() -> None:
    table = build_table(flask_app("/items/<int:i>", "/names/<name>"), None)

    first = table.match("GET", "/items/7", "http", "h")
    again = table.match("GET", "/items/7", "http", "h")
    for number in range(MAX_REMEMBERED + 10):
        table.match("GET", f"/names/{number}", "http", "h")

    assert again is first
    assert table.match("GET", "/items/8", "http", "h").values == {"i": 8}
    assert len(table._recent) <= MAX_REMEMBERED


def test_paths_of_the_apps_own_converters_are_asked_for_each_time() -> None:
    answers = iter(["first", "second"])

    class Changing(BaseConverter):
        def to_python(self, value: str) -> str:
            return next(answers)

    flask = Flask("legacy", static_folder=None)
    flask.url_map.converters["changing"] = Changing
    flask.add_url_rule("/x/<changing:value>", "x", lambda value: value)
    table = build_table(flask, None)

    values = [table.match("GET", "/x/same", "http", "h").values["value"] for _ in range(2)]

    assert values == ["first", "second"]


def websocket_flask() -> Flask:
    app = flask_app("/page")
    app.url_map.add(Rule("/echo", endpoint="echo", websocket=True))  # as Flask-Sock does
    return app


def test_websocket_route_of_the_flask_app_stops_the_start_unless_declared() -> None:
    with pytest.raises(RouteConflictError, match="WebSocket route '/echo' cannot be reached"):
        build_table(websocket_flask(), None)

    table = build_table(websocket_flask(), None, declared_overlaps={"WEBSOCKET /echo": "legacy"})

    assert list(table.endpoints) == ["GET /page"]


def test_websocket_route_that_the_async_side_has_too_is_no_loss() -> None:
    target = Starlette(routes=[WebSocketRoute("/echo", lambda socket: None)])

    assert build_table(websocket_flask(), target).match_websocket("/echo") is not None
