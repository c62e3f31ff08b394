import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter, FastAPI
from flask import Flask
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from werkzeug.routing import Rule

from gateway.async_routes import list_routes
from gateway.endpoints import Endpoint, EndpointNames
from gateway.errors import MoveRefusedError
from gateway.legacy_routes import find_routes
from gateway.pairing import pair


def view(**values: Any) -> str:
    return "flask"


def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("async")


def flask_app(*rules: str | tuple[str, list[str]]) -> Flask:
    """GET unless other methods are given."""
    app = Flask("legacy", static_folder=None)
    for number, rule in enumerate(rules):
        text, methods = (rule, ["GET"]) if isinstance(rule, str) else rule
        app.add_url_rule(text, str(number), view, methods=methods)
    return app


def pair_apps(legacy: Any, target: Any) -> list[Endpoint]:
    found = find_routes(legacy)
    return pair(found.rules(), list_routes(target), found.hides)


def sides(endpoints: list[Endpoint]) -> dict[str, tuple[str | None, str | None]]:
    """By identity: the legacy rule and the async route."""
    return {
        endpoint.id: (endpoint.rule and endpoint.rule.text, endpoint.route and endpoint.route.template.typed())
        for endpoint in endpoints
    }


def handler(annotation: type, name: str = "x") -> Callable[..., str]:
    """A handler whose signature says of one parameter what it is."""

    def handle(**_: Any) -> str:
        return "async"

    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    handle.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    return handle


@pytest.mark.parametrize(
    ("rule", "path", "annotation", "route"),
    [
        ("/a/<x>", "/a/{x}", str, "/a/{x:str}"),
        ("/a/<string:other>", "/a/{x}", str, "/a/{x:str}"),
        ("/a/<int:other>", "/a/{x}", int, "/a/{x:str}"),
        ("/a/<int:x>", "/a/{x:int}", int, "/a/{x:int}"),
        ("/a/<uuid:x>", "/a/{x}", UUID, "/a/{x:str}"),
        ("/a/<int(min=1):x>", "/a/{x:int}", int, "/a/{x:int}"),
        ("/a/<any(b, c):x>", "/a/{x}", str, "/a/{x:str}"),
        ("/a/<path:x>", "/a/{x:path}", str, "/a/{x:path}"),
        ("/a/<x>", "/a/{x}", int, "/a/{x:str}"),
    ],
)
def test_one_endpoint_in_two_notations_is_one(rule: str, path: str, annotation: type, route: str) -> None:
    api = FastAPI()
    api.get(path)(handler(annotation))
    (endpoint,) = pair_apps(flask_app(rule), api)
    assert sides([endpoint]) == {f"GET {endpoint.template}": (rule, route)}
    assert endpoint.has_legacy


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/a/<int:x>", "/a/{x:uuid}"),
        ("/a/<path:x>", "/a/{x}"),
        ("/a/<x>", "/a/{x:path}"),
        ("/a/<x>", "/a/{x:int}"),
        ("/a/<any(b, c):x>", "/a/{x:int}"),
        ("/a/<x>", "/a/{x}/"),
        ("/a/<x>", "/b/{x}"),
    ],
)
def test_paths_that_differ_in_more_than_names_are_two_endpoints(rule: str, path: str) -> None:
    api = FastAPI()
    api.get(path)(handler(str))
    endpoints = pair_apps(flask_app(rule), api)
    assert [(e.rule is None, e.route is None) for e in endpoints] == [(False, True), (True, False)]


def test_methods_pair_one_by_one() -> None:
    api = FastAPI()
    api.api_route("/x", methods=["GET", "PUT", "PATCH"])(lambda: "async")
    endpoints = pair_apps(flask_app(("/x", ["GET", "POST", "PUT"])), api)
    assert sides(endpoints) == {
        "GET /x": ("/x", "/x"),
        "POST /x": ("/x", None),
        "PUT /x": ("/x", "/x"),
        "PATCH /x": (None, "/x"),
    }


def test_annotation_decides_between_rules_of_one_shape() -> None:
    api = FastAPI()
    api.get("/user/{user_id}")(handler(int, "user_id"))
    assert sides(pair_apps(flask_app("/user/<name>", "/user/<int:id>"), api)) == {
        "GET /user/{name:str}": ("/user/<name>", None),
        "GET /user/{id:int}": ("/user/<int:id>", "/user/{user_id:str}"),
    }


def test_each_of_two_rules_takes_the_route_that_fits_it_best() -> None:
    api = FastAPI()
    api.get("/user/{a}")(lambda a: "async")
    api.get("/user/{b:int}")(lambda b: "async")
    assert sides(pair_apps(flask_app("/user/<int:id>", "/user/<name>"), api)) == {
        "GET /user/{id:int}": ("/user/<int:id>", "/user/{b:int}"),
        "GET /user/{name:str}": ("/user/<name>", "/user/{a:str}"),
    }


def test_route_that_fits_two_rules_equally_well_fits_neither() -> None:
    api = FastAPI()
    api.get("/x/{v}")(handler(UUID, "v"))
    assert sides(pair_apps(flask_app("/x/<int:v>", "/x/<float:v>"), api)) == {
        "GET /x/{v:int}": ("/x/<int:v>", None),
        "GET /x/{v:float}": ("/x/<float:v>", None),
        "GET /x/{v:str}": (None, "/x/{v:str}"),
    }


@pytest.mark.parametrize(
    ("rules", "path", "annotation", "paired"),
    [
        (["/x/<a>", "/x/<b>"], "/x/{a}", str, "/x/<a>"),
        (["/x/<int(min=5):a>", "/x/<int:a>"], "/x/{a:int}", int, "/x/<int:a>"),
        (["/x/<string(length=2):a>", "/x/<a>"], "/x/{a}", str, "/x/<a>"),
        (["/x/<uuid:a>", "/x/<a>"], "/x/{a}", int, "/x/<a>"),
        (["/x/<a>", "/x/<uuid:a>"], "/x/{a}", UUID, "/x/<uuid:a>"),
    ],
)
def test_route_takes_the_rule_that_fits_best(rules: list[str], path: str, annotation: type, paired: str) -> None:
    api = FastAPI()
    api.get(path)(handler(annotation, "a"))
    endpoints = pair_apps(flask_app(*rules), api)
    assert [e.rule.text for e in endpoints if e.rule is not None and e.route is not None] == [paired]
    assert [e.id for e in endpoints if e.rule is None] == []


def test_route_takes_the_rule_without_a_host_before_one_with() -> None:
    legacy, api = Flask("legacy", subdomain_matching=True, static_folder=None), FastAPI()
    legacy.config["SERVER_NAME"] = "shop.test"
    legacy.add_url_rule("/", "admin", view, subdomain="admin")
    legacy.add_url_rule("/", "shop", view)
    api.get("/")(lambda: "async")
    assert sides(pair_apps(legacy, api)) == {"GET //admin.shop.test/": ("/", None), "GET /": ("/", "/")}


def test_ids_differ_even_where_a_route_looks_like_a_rule_that_it_is_not_paired_with() -> None:
    api = FastAPI()

    @api.get("/x/{a}/{b}")
    def fits_both(a: int, b: float) -> None: ...

    endpoints = pair_apps(flask_app("/x/<a>/<b>", "/x/<int:a>/<uuid:b>", "/x/{a}/{b}"), api)
    assert sides(endpoints) == {
        "GET /x/{a:str}/{b:str}": ("/x/<a>/<b>", None),
        "GET /x/{a:int}/{b:uuid}": ("/x/<int:a>/<uuid:b>", None),
        "GET /x/{{a}}/{{b}}": ("/x/{a}/{b}", None),
        "GET /x/{a:str}/{b:str} (async)": (None, "/x/{a:str}/{b:str}"),
    }
    assert EndpointNames(endpoints).find("GET /x/{a:str}/{b:str} (async)") == endpoints[-1:]


def test_rules_for_two_hosts_leave_a_route_to_neither() -> None:
    legacy, api = Flask("legacy", host_matching=True, static_folder=None), FastAPI()
    for host in ("a.test", "b.test"):
        legacy.add_url_rule("/x", host, view, host=host)
    api.get("/x")(lambda: "async")
    assert sides(pair_apps(legacy, api)) == {
        "GET //a.test/x": ("/x", None),
        "GET //b.test/x": ("/x", None),
        "GET /x": (None, "/x"),
    }


def test_custom_convertor_pairs_by_its_name() -> None:
    class Order(StringConvertor):
        regex = "[a-z]{2}"

    register_url_convertor("order_key", Order())
    legacy, api = flask_app(), FastAPI()
    legacy.url_map.converters["order_key"] = legacy.url_map.converters["string"]
    legacy.add_url_rule("/a/<order_key:k>", "a", view)
    legacy.add_url_rule("/b/<k>", "b", view)
    api.get("/a/{key:order_key}")(lambda key: "async")
    api.get("/b/{key:order_key}")(lambda key: "async")
    assert sides(pair_apps(legacy, api)) == {
        "GET /a/{k}": ("/a/<order_key:k>", "/a/{key:order_key}"),
        "GET /b/{k:str}": ("/b/<k>", None),
        "GET /b/{key:order_key}": (None, "/b/{key:order_key}"),
    }


def test_routers_included_and_apps_mounted_have_their_prefixes() -> None:
    api, outer, inner, mounted = FastAPI(), APIRouter(prefix="/outer"), APIRouter(), FastAPI()
    inner.get("/{x}")(lambda x: "async")
    outer.include_router(inner, prefix="/inner")
    api.include_router(outer, prefix="/v1")
    mounted.get("/{y:int}")(lambda y: "async")
    api.mount("/sub/{tenant}", mounted)
    legacy = flask_app("/v1/outer/inner/<name>", "/sub/<org>/<int:number>")
    assert sides(pair_apps(legacy, api)) == {
        "GET /v1/outer/inner/{name}": ("/v1/outer/inner/<name>", "/v1/outer/inner/{x:str}"),
        "GET /sub/{org}/{number}": ("/sub/<org>/<int:number>", "/sub/{tenant:str}/{y:int}"),
    }


def test_mounted_files_pair_with_flasks_and_take_any_other_method(tmp_path: Path) -> None:
    api = FastAPI()
    api.mount("/static", StaticFiles(directory=tmp_path))
    legacy = Flask("legacy")
    assert sides(pair_apps(legacy, api)) == {
        "GET /static/{filename:path}": ("/static/<path:filename>", "/static/{path:path}"),
        "OPTIONS /static/{filename:path}": ("/static/<path:filename>", "/static/{path:path}"),
        "* /static/{path:path}": (None, "/static/{path:path}"),
    }


def test_classes_answer_the_methods_that_they_define() -> None:
    class Items(MethodView):
        def get(self) -> str:
            return "flask"

        def delete(self) -> str:
            return "flask"

    class AsyncItems(HTTPEndpoint):
        async def get(self, request: Request) -> PlainTextResponse:
            return PlainTextResponse("async")

        async def put(self, request: Request) -> PlainTextResponse:
            return PlainTextResponse("async")

    legacy = flask_app()
    legacy.add_url_rule("/items", view_func=Items.as_view("items"))
    assert sides(pair_apps(legacy, Starlette(routes=[Route("/items", AsyncItems)]))) == {
        "DELETE /items": ("/items", None),
        "GET /items": ("/items", "/items"),
        "PUT /items": (None, "/items"),
    }


def test_asgi_app_as_a_route_takes_any_method() -> None:
    class Proxy:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    target = Starlette(routes=[Route("/items", Proxy())])
    assert sides(pair_apps(flask_app(("/items", ["GET", "POST"])), target)) == {
        "GET /items": ("/items", "/items"),
        "OPTIONS /items": ("/items", "/items"),
        "POST /items": ("/items", "/items"),
        "* /items": (None, "/items"),
    }


def test_options_is_an_endpoint_only_where_somebody_wrote_one() -> None:
    api = FastAPI()
    api.get("/plain")(lambda: "async")
    api.options("/theirs")(lambda: "async")
    legacy = flask_app("/plain", "/theirs", ("/ours", ["OPTIONS"]))
    assert sides(pair_apps(legacy, api)) == {
        "GET /plain": ("/plain", "/plain"),
        "GET /theirs": ("/theirs", None),
        "OPTIONS /theirs": ("/theirs", "/theirs"),
        "OPTIONS /ours": ("/ours", None),
    }


def test_head_belongs_to_get() -> None:
    target = Starlette(
        routes=[
            Route("/both/{key}", page, methods=["HEAD"]),
            Route("/both/{id}", page, methods=["GET"]),
            Route("/alone", page, methods=["HEAD"]),
        ]
    )
    legacy = flask_app("/both/<name>", ("/lonely", ["HEAD"]))
    endpoints = {endpoint.id: endpoint for endpoint in pair_apps(legacy, target)}
    assert sides(list(endpoints.values())) == {
        "GET /both/{name}": ("/both/<name>", "/both/{id:str}"),
        "HEAD /lonely": ("/lonely", None),
        "HEAD /alone": (None, "/alone"),
    }
    both = endpoints["GET /both/{name}"]
    heads = [both.route_for(method) for method in ("GET", "HEAD")]
    params = [both.path_params(route, {"name": "n"}, "/both/n") for route in heads if route is not None]
    assert params == [{"id": "n"}, {"key": "n"}]


def test_head_goes_to_the_route_of_its_own_kind() -> None:
    target = Starlette(routes=[Route("/x/{id:int}", page), Route("/x/{name}", page)])
    endpoints = pair_apps(flask_app("/x/<int:id>", "/x/<name>"), target)
    assert {e.id: (e.route, e.route_for("HEAD")) for e in endpoints} == {e.id: (e.route, e.route) for e in endpoints}
    assert len({e.route for e in endpoints}) == 2


def test_rules_that_only_redirect_are_no_endpoints() -> None:
    legacy = flask_app("/new")
    legacy.url_map.add(Rule("/moved", redirect_to="new"))
    legacy.url_map.add(Rule("/alias", endpoint="0", alias=True, methods=["GET"]))
    legacy.url_map.add(Rule("/made", endpoint="0", build_only=True))
    assert list(sides(pair_apps(legacy, FastAPI()))) == ["GET /new"]


def test_rule_without_methods_has_the_usual_ones() -> None:
    legacy = flask_app()
    legacy.url_map.add(Rule("/any", endpoint="any"))
    assert list(sides(pair_apps(legacy, FastAPI()))) == [
        "DELETE /any",
        "GET /any",
        "PATCH /any",
        "POST /any",
        "PUT /any",
    ]


def test_first_of_two_routes_for_one_path_counts() -> None:
    api = FastAPI()
    first = api.get("/x/{a}")(lambda a: "first")
    api.get("/x/{b}")(lambda b: "second")
    (endpoint,) = pair_apps(flask_app(), api)
    assert endpoint.id == "GET /x/{a}"
    assert endpoint.route is not None
    assert endpoint.route.endpoint is first


@pytest.mark.parametrize("legacy", [None, "opaque"])
def test_endpoint_starts_on_the_legacy_side_if_that_may_have_it(legacy: str | None) -> None:
    api = FastAPI()
    api.get("/x")(lambda: "async")
    app = flask_app() if legacy is None else (lambda environ, start_response: [])
    (endpoint,) = pair_apps(app, api)
    presumed = legacy is not None
    assert (endpoint.presumed, endpoint.has_legacy) == (presumed, presumed)
    assert endpoint.initial.stage.value == ("legacy" if presumed else "async")


@pytest.mark.parametrize(
    ("rules", "ids"),
    [
        (["/a/<x>"], ["GET /a/{x}"]),
        (["/a/<x>", "/a/<int:y>"], ["GET /a/{x:str}", "GET /a/{y:int}"]),
        (["/a/<int:x>", "/a/<int(min=5):x>"], ["GET /a/{x:int}", "GET /a/{x:int(min=5)}"]),
        (["/a/<x>", "/a/<path:y>"], ["GET /a/{x}", "GET /a/{y:path}"]),
        (["/a/<x>", "/a/<y>/"], ["GET /a/{x}", "GET /a/{y}/"]),
    ],
)
def test_ids_spell_out_kinds_only_where_names_do_not_tell(rules: list[str], ids: list[str]) -> None:
    assert [endpoint.id for endpoint in pair_apps(flask_app(*rules), FastAPI())] == ids


def test_ids_of_a_method_do_not_depend_on_another_method() -> None:
    legacy = flask_app("/a/<x>", ("/a/<int:y>", ["POST"]))
    assert [endpoint.id for endpoint in pair_apps(legacy, FastAPI())] == ["GET /a/{x}", "POST /a/{y}"]


NAMED = flask_app(
    "/items/<int:item_id>",
    ("/items/<int:item_id>", ["POST"]),
    "/user/<name>",
    "/user/<int:number>",
    "/files/<path:name>",
    "/search",
)


@pytest.fixture
def names() -> EndpointNames:
    return EndpointNames(pair_apps(NAMED, FastAPI()))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("GET /items/{item_id}", ["GET /items/{item_id}"]),
        ("GET /items/{id}", ["GET /items/{item_id}"]),
        ("GET /items/{id:int}", ["GET /items/{item_id}"]),
        ("GET /items/<int:whatever>", ["GET /items/{item_id}"]),
        ("  get   /items/{item_id} ", ["GET /items/{item_id}"]),
        ("GET /user/{number:int}", ["GET /user/{number:int}"]),
        ("GET /user/<n>", ["GET /user/{name:str}"]),
        ("GET /user/<int:n>", ["GET /user/{number:int}"]),
        ("GET /files/<path:p>", ["GET /files/{name:path}"]),
        ("* /items/*", ["GET /items/{item_id}", "POST /items/{item_id}"]),
        ("GET /user/*", ["GET /user/{name:str}", "GET /user/{number:int}"]),
        ("P* *", ["POST /items/{item_id}"]),
        ("GET /searc?", ["GET /search"]),
    ],
)
def test_names_are_found_as_people_write_them(names: EndpointNames, name: str, found: list[str]) -> None:
    assert sorted(endpoint.id for endpoint in names.find(name)) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GET /itmes/{item_id}", "there is no endpoint 'GET /itmes/{item_id}'; the nearest is 'GET /items/{item_id}'"),
        ("PUT /search", "there is no endpoint 'PUT /search'; the nearest is 'GET /search'"),
        ("GET /search/", "there is no endpoint 'GET /search/'; the nearest is 'GET /search'"),
        ("XY /zzzzzzzzzzz*", "there is no endpoint 'XY /zzzzzzzzzzz*'; 'gateway endpoints' lists them"),
        ("/search", "there is no endpoint '/search': write it as METHOD /path, for example 'GET /items/{id}'"),
        ("", "there is no endpoint '': write it as METHOD /path, for example 'GET /items/{id}'"),
    ],
)
def test_names_that_mean_nothing_are_refused_with_a_hint(names: EndpointNames, name: str, message: str) -> None:
    with pytest.raises(MoveRefusedError) as refusal:
        names.find(name)
    assert str(refusal.value) == message


def test_name_that_may_mean_two_endpoints_is_refused_with_both() -> None:
    names = EndpointNames(pair_apps(flask_app("/x/<int:a>", "/x/<uuid:a>"), FastAPI()))
    with pytest.raises(MoveRefusedError) as refusal:
        names.find("GET /x/{b}")
    assert str(refusal.value) == "'GET /x/{b}' may mean several endpoints: say 'GET /x/{a:int}' or 'GET /x/{a:uuid}'"


def test_names_with_hosts_are_found() -> None:
    legacy = Flask("legacy", host_matching=True, static_folder=None)
    legacy.add_url_rule("/x/<int:a>", "x", view, host="<tenant>.shop.test")
    legacy.add_url_rule("/x/<int:a>", "y", view, host="b.test")
    names = EndpointNames(pair_apps(legacy, FastAPI()))
    assert [e.id for e in names.find("GET //b.test/x/<int:other>")] == ["GET //b.test/x/{a}"]
    assert [e.id for e in names.find("GET //*.shop.test/*")] == ["GET //{tenant}.shop.test/x/{a}"]
    with pytest.raises(MoveRefusedError):
        names.find("GET /x/{a}")
