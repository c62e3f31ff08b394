"""Where Werkzeug and Starlette route differently: each case on the gateway, and on the mount of every tutorial.

The tutorial's mount must fail every one of them: a case that it passed would prove nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from a2wsgi import WSGIMiddleware
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from flask import Flask, g
from starlette.types import ASGIApp
from werkzeug.routing import BaseConverter

from gateway.errors import RouteConflictError
from gateway.table import build_table
from tests.gateway.apps import Answer, call, fetch, http_scope, move, running_gateway

Serve = Callable[..., Awaitable[Any]]

FAILURES = (AssertionError, ValueError, pytest.fail.Exception)
NAIVE = pytest.param(
    "naive", marks=pytest.mark.xfail(strict=True, raises=FAILURES, reason="Starlette decides, and knows no Flask rules")
)
MOUNTS = pytest.mark.parametrize("mount", ["gateway", NAIVE])


@pytest.fixture
async def serve(mount: str, tmp_path: Path) -> AsyncIterator[Serve]:
    """Put both apps behind one address, with the endpoints `moved` on the async side."""
    async with AsyncExitStack() as stack:

        async def start(legacy: Flask, target: FastAPI, *moved: str, **settings: Any) -> ASGIApp:
            if mount == "naive":
                target.mount("/", WSGIMiddleware(legacy))
                return target
            gateway = await stack.enter_async_context(running_gateway(tmp_path, legacy, target, **settings))
            if moved:
                await move(gateway, moved)
            return gateway

        yield start


def flask_app(**options: Any) -> Flask:
    return Flask("legacy", static_folder=None, **options)


def fastapi_app() -> FastAPI:
    return FastAPI(default_response_class=PlainTextResponse)


async def ask_flask(legacy: Flask, method: str, target: str) -> Answer:
    """What the Flask app answers when nothing stands before it."""
    return await call(WSGIMiddleware(legacy), http_scope(method, target))


def seen(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.text, answer.headers.get("location")


@MOUNTS
@pytest.mark.parametrize(("target", "text"), [("/user/me", "flask me"), ("/user/5", "flask 5")])
async def test_moved_generic_endpoint_leaves_specific_rules_alone(serve: Serve, target: str, text: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/user/<name>", "name", lambda name: f"flask {name}")
    legacy.add_url_rule("/user/me", "me", lambda: "flask me")
    legacy.add_url_rule("/user/<int:number>", "number", lambda number: f"flask {number}")
    api.get("/user/{name}")(lambda name: f"api {name}")
    app = await serve(legacy, api, "GET /user/{name:str}")
    assert (await fetch(app, "GET", "/user/bob")).text == "api bob"
    assert (await fetch(app, "GET", target)).text == text


@MOUNTS
@pytest.mark.parametrize("target", ["//admin", "///admin", "/%2Fadmin", "/%2F/admin"])
async def test_leading_slashes_reach_no_copy_of_a_moved_endpoint(serve: Serve, target: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/admin", "admin", lambda: "flask")
    api.get("/admin")(lambda: "api")
    app = await serve(legacy, api, "GET /admin")
    assert (await fetch(app, "GET", "/admin")).text == "api"
    assert (await fetch(app, "GET", target)).text == "api"


@MOUNTS
async def test_leading_slashes_reach_the_route_inside_a_mounted_app(serve: Serve) -> None:
    legacy, api, inner = flask_app(), fastapi_app(), fastapi_app()
    legacy.add_url_rule("/admin/users", "users", lambda: "flask")
    inner.get("/users")(lambda: "api")
    api.mount("/admin", inner)
    app = await serve(legacy, api, "GET /admin/users")
    assert (await fetch(app, "GET", "//admin/users")).text == "api"


@MOUNTS
async def test_head_moves_with_get(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: ("flask", {"X-From": "flask"}))
    api.get("/x")(lambda: PlainTextResponse("api", headers={"X-From": "api"}))
    app = await serve(legacy, api, "GET /x")
    head = await fetch(app, "HEAD", "/x")
    assert (head.status, head.headers["x-from"]) == (200, "api")


@MOUNTS
async def test_head_moves_with_get_from_a_rule_of_its_own(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "head", lambda: ("", {"X-From": "flask"}), methods=["HEAD"])
    legacy.add_url_rule("/x", "get", lambda: "flask", methods=["GET"])
    api.get("/x")(lambda: PlainTextResponse("api", headers={"X-From": "api"}))
    app = await serve(legacy, api, "GET /x")
    assert (await fetch(app, "HEAD", "/x")).headers["x-from"] == "api"


@MOUNTS
@pytest.mark.parametrize(("method", "status"), [("DELETE", 405), ("OPTIONS", 200)])
async def test_allow_names_what_either_side_has_where_flask_refuses(serve: Serve, method: str, status: int) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask", methods=["POST"])
    api.get("/x")(lambda: "api")
    app = await serve(legacy, api)
    answer = await fetch(app, method, "/x")
    assert (answer.status, answer.allow) == (status, {"GET", "HEAD", "OPTIONS", "POST"})


@MOUNTS
@pytest.mark.parametrize("method", ["DELETE", "OPTIONS"])
async def test_allow_names_all_async_routes_where_flask_has_none(serve: Serve, method: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    api.get("/x")(lambda: "api")
    api.post("/x")(lambda: "api")
    app = await serve(legacy, api)
    answer = await fetch(app, method, "/x")
    assert (answer.status, answer.allow) == (405, {"GET", "HEAD", "POST"})


@MOUNTS
async def test_allow_keeps_the_moved_method_when_flask_refuses_another(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask")
    api.get("/x")(lambda: "api")
    api.post("/x")(lambda: "api")
    app = await serve(legacy, api, "GET /x")
    answer = await fetch(app, "DELETE", "/x")
    assert (answer.status, answer.allow) == (405, {"GET", "HEAD", "OPTIONS", "POST"})


@MOUNTS
async def test_each_side_may_have_its_own_method_of_one_path(serve: Serve) -> None:
    legacy, api, inner = flask_app(), fastapi_app(), fastapi_app()
    legacy.add_url_rule("/api/x", "x", lambda: "flask", methods=["POST"])
    inner.get("/x")(lambda: "api")
    api.mount("/api", inner)
    app = await serve(legacy, api)
    assert (await fetch(app, "GET", "/api/x")).text == "api"
    assert (await fetch(app, "POST", "/api/x")).text == "flask"


@MOUNTS
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/branch"),
        ("POST", "/api/branch"),
        ("DELETE", "/api/branch"),
        ("POST", "/api/leaf/"),
        ("GET", "/api/leaf/"),
        ("GET", "/api/leaf//"),
    ],
)
async def test_slash_redirects_and_refusals_stay_flasks(serve: Serve, method: str, target: str) -> None:
    legacy, api, inner = flask_app(), fastapi_app(), fastapi_app()
    for path in ("/branch/", "/leaf"):
        legacy.add_url_rule(f"/api{path}", path, lambda: "flask", methods=["GET", "POST"])
        inner.api_route(path, methods=["GET", "POST"])(lambda: "api")
    api.mount("/api", inner)
    app = await serve(legacy, api, "* /api/*")
    assert (await fetch(app, "POST", "/api/branch/")).text == "api"
    assert seen(await fetch(app, method, target)) == seen(await ask_flask(legacy, method, target))


@MOUNTS
async def test_both_forms_of_a_lax_path_move(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/lax", "lax", lambda: "flask", strict_slashes=False)
    api.get("/lax")(lambda: "api")
    app = await serve(legacy, api, "GET /lax")
    assert [(await fetch(app, "GET", target)).text for target in ("/lax", "/lax/")] == ["api", "api"]


@MOUNTS
@pytest.mark.parametrize("target", ["/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect"])
async def test_documentation_pages_shadow_nothing(serve: Serve, target: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/docs", "docs", lambda: "our own docs")
    legacy.add_url_rule("/openapi.json", "openapi", lambda: "our own schema")
    app = await serve(legacy, api)
    assert seen(await fetch(app, "GET", target)) == seen(await ask_flask(legacy, "GET", target))


@MOUNTS
async def test_endpoint_moves_to_and_fro_while_serving(mount: str, serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask")
    if mount == "gateway":
        api.get("/x")(lambda: "api")
    app = await serve(legacy, api)

    async def switch(stage: str) -> None:
        if mount == "gateway":
            await move(app, ["GET /x"], stage)
        elif stage == "async":
            api.get("/x")(lambda: "api")

    answers = []
    for stage in ("async", "legacy", "async"):
        await switch(stage)
        answers.append((await fetch(app, "GET", "/x")).text)
    assert answers == ["api", "flask", "api"]


@MOUNTS
async def test_endpoint_of_an_included_router_moves_back(mount: str, serve: Serve) -> None:
    legacy, api, router = flask_app(), fastapi_app(), APIRouter()
    legacy.add_url_rule("/x", "x", lambda: "flask")
    router.get("/x")(lambda: "api")
    api.include_router(router)
    app = await serve(legacy, api, "GET /x")
    assert (await fetch(app, "GET", "/x")).text == "api"
    if mount == "gateway":
        await move(app, ["GET /x"], "legacy")
    else:
        router.routes.clear()
    assert (await fetch(app, "GET", "/x")).text == "flask"


@MOUNTS
@pytest.mark.parametrize("text", ["abc", "-1", "+1", "1_000", "1.0", "%201", "1%20"])
async def test_what_is_no_int_for_flask_is_none_for_the_moved_endpoint(serve: Serve, text: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/items/<int:number>", "item", lambda number: f"flask {number}")

    @api.get("/items/{number}")
    def item(number: int) -> str:
        return f"api {number}"

    app = await serve(legacy, api, "GET /items/{number}")
    assert (await fetch(app, "GET", "/items/7")).text == "api 7"
    assert seen(await fetch(app, "GET", f"/items/{text}")) == seen(await ask_flask(legacy, "GET", f"/items/{text}"))


@MOUNTS
@pytest.mark.parametrize("path", ["/items/{number}", "/items/{number:int}"])
async def test_unicode_digits_reach_the_moved_endpoint_as_their_number(serve: Serve, path: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/items/<int:number>", "item", lambda number: f"flask {number}")

    @api.get(path)
    def item(number: int) -> str:
        return f"api {number}"

    app = await serve(legacy, api, "GET /items/{number}")
    assert (await fetch(app, "GET", "/items/%D9%A1%D9%A2")).text == "api 12"


@MOUNTS
async def test_int_of_4400_digits_is_no_match(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/items/<int:number>", "item", lambda number: "flask")
    api.get("/items/{number:int}")(lambda number: "api")
    app = await serve(legacy, api, "GET /items/{number}", limit_request_line=5000)
    assert (await fetch(app, "GET", f"/items/{'1' * 4300}")).text == "api"
    assert (await fetch(app, "GET", f"/items/{'1' * 4400}")).status == 404


@MOUNTS
async def test_int_of_4400_digits_is_no_match_for_an_async_endpoint_either(serve: Serve) -> None:
    api = fastapi_app()
    api.get("/items/{number:int}")(lambda number: "api")
    app = await serve(flask_app(), api, limit_request_line=5000)
    assert (await fetch(app, "GET", f"/items/{'1' * 4400}")).status == 404


@MOUNTS
@pytest.mark.parametrize(
    ("kind", "annotation", "accepted", "refused"),
    [
        ("float", float, "1.50", "1"),
        ("uuid", UUID, "0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5bd9cb469fa16570867728950e"),
    ],
)
async def test_float_and_uuid_are_what_flask_takes_for_one(
    serve: Serve, kind: str, annotation: type, accepted: str, refused: str
) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule(f"/x/<{kind}:value>", "x", lambda value: f"flask {value!r}")

    @api.get(f"/x/{{value:{kind}}}")
    def x(value: annotation) -> str:
        return f"api {value!r}"

    app = await serve(legacy, api, "GET /x/{value}")
    assert (await fetch(app, "GET", f"/x/{accepted}")).text == f"api {annotation(accepted)!r}"
    assert (await fetch(app, "GET", f"/x/{refused}")).status == 404


@MOUNTS
@pytest.mark.parametrize("target", ["/files/", "/files//etc/passwd", "/files/%2Fetc%2Fpasswd"])
async def test_path_parameter_is_never_empty_nor_absolute(serve: Serve, target: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/files/<path:name>", "file", lambda name: f"flask {name}")
    api.get("/files/{name:path}")(lambda name: f"api {name}")
    app = await serve(legacy, api, "GET /files/{name:path}")
    assert (await fetch(app, "GET", "/files/etc/passwd")).text == "api etc/passwd"
    assert seen(await fetch(app, "GET", target)) == seen(await ask_flask(legacy, "GET", target))


@MOUNTS
async def test_path_parameter_of_an_async_endpoint_is_never_absolute(serve: Serve) -> None:
    api = fastapi_app()
    api.get("/files/{name:path}")(lambda name: f"api {name}")
    app = await serve(flask_app(), api)
    assert (await fetch(app, "GET", "/files/a//b")).text == "api a//b"
    assert (await fetch(app, "GET", "/files//etc/passwd")).status == 404


class ListConverter(BaseConverter):
    regex = r"[a-z]+(?:-[a-z]+)*"

    def to_python(self, value: str) -> list[str]:
        return value.split("-")

    def to_url(self, values: list[str]) -> str:
        return "-".join(values)


class HexConverter(BaseConverter):
    """Like many an app's own: nobody ever built a URL with it, so it has no `to_url`."""

    regex = "[0-9a-f]+"

    def to_python(self, value: str) -> int:
        return int(value, 16)


@MOUNTS
@pytest.mark.parametrize(
    ("rule", "path", "annotation", "accepted", "value", "refused"),
    [
        ("/x/<any(a, 'b c'):x>", "/x/{x}", str, "b%20c", "b c", "z"),
        ("/x/<string(length=2):x>", "/x/{x}", str, "ab", "ab", "abc"),
        ("/x/<string(minlength=2, maxlength=3):x>", "/x/{x}", str, "abc", "abc", "a"),
        ("/x/<int(min=3, max=5):x>", "/x/{x:int}", int, "4", 4, "6"),
        ("/x/<int(signed=True):x>", "/x/{x}", int, "-5", -5, "+5"),
        ("/x/<int(signed=True):x>", "/x/{x:int}", int, "-5", -5, "+5"),
        ("/x/<int(fixed_digits=4):x>", "/x/{x}", str, "0012", "0012", "12"),
        ("/x/<float(signed=True):x>", "/x/{x}", float, "-1.5", -1.5, "1"),
        ("/x/<list:x>", "/x/{x}", str, "a-b", "a-b", "a--b"),
        ("/x/<hex:x>", "/x/{x}", str, "ff", "ff", "xy"),
        ("/x/<hex:x>-<hex:y>/z/", "/x/{x}-{y}/z/", str, "ff-0a/z/", "ff", "ff-0g/z/"),
    ],
)
async def test_converters_decide_for_the_moved_endpoint(
    serve: Serve, rule: str, path: str, annotation: type, accepted: str, value: object, refused: str
) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.url_map.converters |= {"list": ListConverter, "hex": HexConverter}
    legacy.add_url_rule(rule, "x", lambda **_: "flask")

    @api.get(path)
    def handler(x: annotation) -> str:
        return f"api {x!r}"

    app = await serve(legacy, api, "GET /x/*")
    assert (await fetch(app, "GET", f"/x/{accepted}")).text == f"api {value!r}"
    assert (await fetch(app, "GET", f"/x/{refused}")).status == 404


@MOUNTS
async def test_redirect_to_a_default_stays_flasks(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/page/", "page", lambda page: f"flask {page}", defaults={"page": 1})
    legacy.add_url_rule("/page/<int:page>", "page")
    api.get("/page/")(lambda: "api 1")
    api.get("/page/{page}")(lambda page: f"api {page}")
    app = await serve(legacy, api, "GET /page/", "GET /page/{page}")
    assert [(await fetch(app, "GET", f"/page/{page}")).text for page in ("", "2")] == ["api 1", "api 2"]
    assert seen(await fetch(app, "GET", "/page/1")) == seen(await ask_flask(legacy, "GET", "/page/1"))


@MOUNTS
async def test_value_that_flasks_preprocessor_takes_away_still_reaches_the_moved_endpoint(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()

    @legacy.url_value_preprocessor
    def take_language(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.language = values.pop("language", None) if values else None

    legacy.add_url_rule("/<any(en, de):language>/about", "about", lambda: f"flask {g.language}")
    api.get("/{language}/about")(lambda language: f"api {language}")
    app = await serve(legacy, api, "GET /{language}/about")
    assert (await fetch(app, "GET", "/de/about")).text == "api de"
    assert (await fetch(app, "GET", "/xx/about")).status == 404


@MOUNTS
async def test_trusted_hosts_guard_moved_and_async_endpoints(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.config["TRUSTED_HOSTS"] = ["shop.test", ".api.test"]
    legacy.add_url_rule("/moved", "moved", lambda: "flask")
    api.get("/moved")(lambda: "api")
    api.get("/new")(lambda: "api")
    app = await serve(legacy, api, "GET /moved")
    for target in ("/moved", "/new"):
        answers = {
            host: (await fetch(app, "GET", target, headers=[("Host", host)])).status
            for host in ("shop.test", "shop.test:8000", "eu.api.test", "evil.test", "")
        }
        assert answers == {"shop.test": 200, "shop.test:8000": 200, "eu.api.test": 200, "evil.test": 400, "": 400}


@MOUNTS
async def test_host_of_a_rule_binds_the_moved_endpoint(serve: Serve) -> None:
    legacy, api = flask_app(host_matching=True), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask", host="a.test")
    legacy.add_url_rule("/y", "y", lambda tenant: f"flask {tenant}", host="<tenant>.b.test")
    api.get("/x")(lambda: "api")
    api.get("/y")(lambda: "api")
    app = await serve(legacy, api, "GET //a.test/x", "GET //{tenant}.b.test/y")

    async def ask(host: str, target: str) -> tuple[int, str]:
        answer = await fetch(app, "GET", target, headers=[("Host", host)])
        return answer.status, answer.text if answer.status == 200 else ""

    assert await ask("a.test", "/x") == (200, "api")
    assert await ask("one.b.test", "/y") == (200, "api")
    assert await ask("c.test", "/x") == (404, "")
    assert await ask("a.test", "/y") == (404, "")


@MOUNTS
async def test_subdomain_of_a_rule_binds_the_moved_endpoint(serve: Serve) -> None:
    legacy, api = flask_app(subdomain_matching=True), fastapi_app()
    legacy.config["SERVER_NAME"] = "shop.test"
    legacy.add_url_rule("/x", "x", lambda: "flask admin", subdomain="admin")
    legacy.add_url_rule("/y", "y", lambda: "flask shop")
    api.get("/x")(lambda: "api admin")
    app = await serve(legacy, api, "GET //admin.shop.test/x")

    async def ask(host: str, target: str) -> str:
        return (await fetch(app, "GET", target, headers=[("Host", host)])).text

    assert await ask("admin.shop.test", "/x") == "api admin"
    assert await ask("shop.test", "/y") == "flask shop"
    assert "Not Found" in await ask("shop.test", "/x")


@MOUNTS
@pytest.mark.parametrize("target", ["/x%0A", "/items/1%0A", "/x%0A%0A"])
async def test_newline_at_the_end_matches_nothing(serve: Serve, target: str) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask")
    legacy.add_url_rule("/items/<int:number>", "item", lambda number: "flask")
    api.get("/x")(lambda: "api")
    api.get("/items/{number:int}")(lambda number: "api")
    app = await serve(legacy, api, "GET /x", "GET /items/{number}")
    answer = await fetch(app, "GET", target)
    assert (answer.status, answer.text) == (404, (await ask_flask(legacy, "GET", "/nothing")).text)


@MOUNTS
async def test_newline_at_the_end_matches_no_async_endpoint(serve: Serve) -> None:
    api = fastapi_app()
    api.get("/admin")(lambda: "api")
    app = await serve(flask_app(), api)
    assert (await fetch(app, "GET", "/admin%0A")).status == 404


@MOUNTS
async def test_newline_within_a_path_is_flasks_to_judge(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/user/<name>", "user", lambda name: f"flask {name!r}")
    legacy.add_url_rule("/moved/<name>", "moved", lambda name: f"flask {name!r}")
    api.get("/moved/{name}")(lambda name: f"api {name!r}")
    app = await serve(legacy, api, "GET /moved/{name}")
    assert (await fetch(app, "GET", "/user/a%0Ab")).text == r"flask 'a\nb'"
    assert (await fetch(app, "GET", "/moved/a%0Ab")).text == r"api 'a\nb'"


@MOUNTS
async def test_lower_case_method_is_no_other_method(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/x", "x", lambda: "flask")
    api.get("/x")(lambda: "api")
    app = await serve(legacy, api, "GET /x")
    assert (await fetch(app, "get", "/x")).text == "api"


@MOUNTS
async def test_root_path_ends_at_a_slash(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/admin", "admin", lambda: "flask")
    api.get("/admin")(lambda: "api")
    app = await serve(legacy, api, "GET /admin")
    assert (await fetch(app, "GET", "/admin", root_path="/api")).text == "api"
    glued = http_scope("GET", "/apiadmin") | {"root_path": "/api"}
    assert (await call(app, glued)).status == 404


@MOUNTS
async def test_path_that_both_have_for_other_methods_is_not_searched_by_starlette(serve: Serve) -> None:
    """`/user/bob` is the async side's to refuse (405), which must not wake the moved endpoint's wider route."""
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/user/<int:number>", "user", lambda number: "flask")
    api.get("/user/{number}")(lambda number: "api")
    api.post("/user/{name}")(lambda name: "api")
    app = await serve(legacy, api, "GET /user/{number}")
    answer = await fetch(app, "GET", "/user/bob")
    assert (answer.status, answer.allow) == (405, {"POST"})


@MOUNTS
async def test_path_that_lacks_its_slash_is_not_searched_by_starlette(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/<int:number>", "number", lambda number: "flask")
    api.get("/{number}")(lambda number: "api")
    api.get("/items/")(lambda: "api")
    app = await serve(legacy, api, "GET /{number}")
    answer = await fetch(app, "GET", "/items?page=2")
    assert (answer.status, answer.headers.get("location")) == (307, "http://gateway.test/items/?page=2")


@MOUNTS
async def test_catch_all_of_flask_beside_async_endpoints_stops_the_start(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/<path:page>", "page", lambda page: f"flask {page}")
    api.get("/new")(lambda: "api")
    with pytest.raises(RouteConflictError, match="'GET /new' is only on the async side"):
        await serve(legacy, api)


@MOUNTS
async def test_catch_all_of_flask_keeps_what_was_declared_legacy(serve: Serve) -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/<path:page>", "page", lambda page: f"flask {page}")
    api.get("/old")(lambda: "api")
    api.get("/new")(lambda: "api")
    app = await serve(legacy, api, overlaps={"GET /old": "legacy", "GET /new": "async"})
    assert (await fetch(app, "GET", "/new")).text == "api"
    assert (await fetch(app, "GET", "/old")).text == "flask old"
    assert (await fetch(app, "GET", "//new")).text == "api"


async def test_catch_all_of_flask_gives_up_one_method_of_a_path_only() -> None:
    legacy, api = flask_app(), fastapi_app()
    legacy.add_url_rule("/<path:page>", "page", lambda page: f"flask {page}", methods=["GET", "POST"])
    api.get("/new")(lambda: "api")
    table = build_table(legacy, api, declared_overlaps={"GET /new": "async"})
    matched = [table.match(method, "/new", "http", None).endpoint for method in ("GET", "HEAD", "POST")]
    assert [endpoint and endpoint.id for endpoint in matched] == ["GET /new", "GET /new", "POST /{page:path}"]
