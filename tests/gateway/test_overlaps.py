from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.convertors import StringConvertor, register_url_convertor
from werkzeug.routing import BaseConverter, Rule

from gateway.endpoints import Side
from gateway.errors import RouteConflictError
from gateway.table import EndpointTable, build_table


class Lower(BaseConverter):
    regex = "[a-z]+"


class Tail(StringConvertor):
    """Takes slashes, which its pattern does not name."""

    regex = ".+"


register_url_convertor("overlaps_tail", Tail())


def view(**values: Any) -> str:
    return "flask"


def flask_app(*rules: str, **options: Any) -> Flask:
    app = Flask("legacy", static_folder=None)
    app.url_map.converters["lower"] = Lower
    for rule in rules:
        app.add_url_rule(rule, rule, view, **options)
    return app


def fastapi_app(*paths: str, methods: tuple[str, ...] = ("GET",)) -> FastAPI:
    app = FastAPI()
    for path in paths:
        app.api_route(path, methods=list(methods))(lambda: "async")
    return app


def conflicts(legacy: Flask, target: FastAPI, **declared: Any) -> list[tuple[str, str, str, bool]]:
    """Of those undeclared and those declared: endpoint, rule, path and whether Flask redirects from it."""
    table = build_table(legacy, target, declared_overlaps={"*": "legacy"})
    return [(o.endpoint.id, o.rule.text, o.path, o.redirect) for o in table.overlaps]


@pytest.mark.parametrize(
    ("rule", "path", "sample"),
    [
        ("/<path:page>", "/new", "/new"),
        ("/<path:page>", "/a/b/c", "/a/b/c"),
        ("/<path:page>", "/items/{x:int}", "/items/7"),
        ("/<path:page>", "/items/{x:uuid}/{y:float}", "/items/0f8fad5b-d9cb-469f-a165-70867728950e/7"),
        ("/<path:page>/edit", "/a/b/edit", "/a/b/edit"),
        ("/<path:page>", "/{p:path}/{x}", "/sample-x9/sample-x9"),
        ("/<path:page>/<x>", "/{p:path}/y", "/sample-x9/y"),
        ("/a/<x>", "/a/b", "/a/b"),
        ("/a/<x>", "/a/{y:int}", "/a/7"),
        ("/a/<x>", "/a/{y:uuid}", "/a/0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("/<x>/b", "/a/{y}", "/a/b"),
        ("/a/<int(min=1000):x>", "/a/{y:float}", "/a/2024"),
        ("/a/<int(min=3000):x>", "/a/{y:float}", "/a/3000"),
        ("/a/<int(fixed_digits=6):x>", "/a/{y:float}", "/a/000007"),
        ("/a/<string(length=12):x>", "/a/{y:overlaps_tail}", "/a/xxxxxxxxxxxx"),
        ("/a/<any(b, c):x>", "/a/b", "/a/b"),
        ("/a/<lower:x>", "/a/{y:overlaps_tail}", "/a/x"),
        ("/a/<path:x>", "/a/{y:overlaps_tail}", "/a/sample-x9"),
        ("/v<x>/a", "/v2/a", "/v2/a"),
    ],
)
def test_path_that_the_async_side_would_take_is_found(rule: str, path: str, sample: str) -> None:
    (conflict,) = conflicts(flask_app(rule), fastapi_app(path))
    assert (conflict[1:]) == (rule, sample, False)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/a", "/b"),
        ("/a", "/a/b"),
        ("/user/me", "/user/{name}"),
        ("/user/<int:x>", "/user/{y:uuid}"),
        ("/a/b", "/{p:path}"),
        ("/a/<x>", "/{p:path}"),
        ("/a/<x>/c", "/{p:path}/c"),
        ("/<path:page>/edit", "/a/b"),
        ("/a/<any(b, c):x>", "/a/d"),
        ("/a/<string(length=2):x>", "/a/new"),
        ("/a/<int:x>", "/a/b"),
        ("/a", "/a/"),
        ("/a/<x>", "/a/{y}"),
        ("/a/<int:x>", "/a/{y}"),
    ],
)
def test_path_that_the_async_side_does_not_take_is_no_overlap(rule: str, path: str) -> None:
    assert conflicts(flask_app(rule), fastapi_app(path)) == []


@pytest.mark.parametrize(
    ("methods", "found"), [(("POST",), []), (("HEAD",), ["HEAD /new"]), (("GET", "POST"), ["GET /new"])]
)
def test_only_methods_of_both_sides_overlap(methods: tuple[str, ...], found: list[str]) -> None:
    assert [c[0] for c in conflicts(flask_app("/<x>"), fastapi_app("/new", methods=methods))] == found


def test_rule_without_methods_overlaps_with_each() -> None:
    legacy = flask_app()
    legacy.url_map.add(Rule("/<x>", endpoint="any"))
    found = conflicts(legacy, fastapi_app("/new", methods=("GET", "DELETE", "TRACE")))
    assert [conflict[0] for conflict in found] == ["DELETE /new", "GET /new", "TRACE /new"]


@pytest.mark.parametrize(
    ("rule", "options", "path", "redirects"),
    [
        ("/branch/", {}, "/branch", True),
        ("/branch/<x>/", {}, "/branch/{y}", True),
        ("/branch/<path:x>/", {}, "/branch/a/{y:int}", True),
        ("/lax", {"strict_slashes": False}, "/lax/", False),
        ("/lax/", {"strict_slashes": False}, "/lax", False),
        ("/lax/<int:x>", {"strict_slashes": False}, "/lax/{y:int}/", False),
    ],
)
def test_other_form_of_a_path_with_a_final_slash_overlaps(
    rule: str, options: dict[str, Any], path: str, redirects: bool
) -> None:
    (conflict,) = conflicts(flask_app(rule, **options), fastapi_app(path))
    assert (conflict[1], conflict[3]) == (rule, redirects)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("/old", redirect_to="new"),
        Rule("/old", endpoint="/new", alias=True, methods=["GET"]),
        Rule("/<path:page>", redirect_to="new"),
    ],
)
def test_rule_that_only_redirects_overlaps(rule: Rule) -> None:
    legacy = flask_app("/new")
    legacy.url_map.add(rule.empty())
    assert conflicts(legacy, fastapi_app("/old")) == [("GET /old", rule.rule, "/old", True)]


def test_rule_that_only_redirects_keeps_what_is_more_specific() -> None:
    legacy = flask_app("/new")
    legacy.url_map.add(Rule("/old", redirect_to="new"))
    table = build_table(legacy, fastapi_app("/{x}"))
    assert (table.overlaps, table.match("GET", "/old", "http", None).side) == ((), Side.LEGACY)


def test_rule_of_a_host_overlaps_under_that_host() -> None:
    legacy = Flask("legacy", host_matching=True, static_folder=None)
    legacy.add_url_rule("/<x>", "x", view, host="<tenant>.shop.test")
    assert conflicts(legacy, fastapi_app("/new")) == [("GET /new", "/<x>", "/new", False)]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("/static/<path:filename>", []),
        ("/<path:page>", [("* /static/{path:path}", "/<path:page>", "/static/sample-x9", False)]),
    ],
)
def test_mounted_app_overlaps_with_a_rule_unless_paired_with_it(
    rule: str, found: list[tuple[str, str, str, bool]]
) -> None:
    async def files(scope: Any, receive: Any, send: Any) -> None: ...

    api = FastAPI()
    api.mount("/static", files)
    assert conflicts(flask_app(rule), api) == found


def test_redirect_to_a_default_overlaps() -> None:
    legacy = flask_app()
    legacy.add_url_rule("/page/", "page", view, defaults={"page": 1})
    legacy.add_url_rule("/page/<int:page>", "page")
    assert conflicts(legacy, fastapi_app("/page/1")) == [("GET /page/1", "/page/<int:page>", "/page/1", True)]


def test_nothing_overlaps_where_the_legacy_app_shows_no_routes() -> None:
    table = build_table(lambda environ, start_response: [], fastapi_app("/new"))
    assert (table.overlaps, table.endpoints["GET /new"].presumed) == ((), True)


def test_every_undeclared_overlap_is_named_with_its_declaration() -> None:
    with pytest.raises(RouteConflictError) as refusal:
        build_table(
            flask_app("/<path:page>", "/branch/"),
            fastapi_app("/new", "/branch", "/declared"),
            declared_overlaps={"GET /d*": "legacy"},
        )
    assert refusal.value.conflicts == (
        "'GET /new' is only on the async side, but '/new', which it matches, is a path that the legacy rule "
        "'/<path:page>' answers. If the async side is meant to take it, declare "
        'overlaps = { "GET /new" = "async" }; to leave it with the legacy side, "legacy"',
        "'GET /branch' is only on the async side, but '/branch', which it matches, is a path that the legacy rule "
        "'/branch/' redirects from. If the async side is meant to take it, declare "
        'overlaps = { "GET /branch" = "async" }; to leave it with the legacy side, "legacy"',
    )
    assert str(refusal.value) == "\n".join(refusal.value.conflicts)


def build(declared: dict[str, Any]) -> EndpointTable:
    legacy = flask_app("/<path:page>", "/branch/", "/new/<x>")
    return build_table(legacy, fastapi_app("/new", "/branch", "/new/{y}/z"), declared_overlaps=declared)


@pytest.mark.parametrize(
    ("declared", "sides"),
    [
        ({"*": "legacy"}, ["legacy", "legacy", "legacy"]),
        ({"*": "async"}, ["async", "async", "async"]),
        ({"GET /new": "async", "GET /*": "legacy"}, ["async", "legacy", "legacy"]),
        ({"GET /branch": "async", "GET /new*": "legacy"}, ["legacy", "async", "legacy"]),
        ({"GET /new/{y}/z": "async", "* /*": "legacy"}, ["legacy", "legacy", "async"]),
    ],
)
def test_declared_owner_answers(declared: dict[str, Any], sides: list[str]) -> None:
    table = build(declared)
    matches = [table.match("GET", path, "http", None) for path in ("/new", "/branch", "/new/a/z")]
    assert [match.side.value for match in matches] == sides
    others = [table.match("GET", path, "http", None) for path in ("/other", "/branch/", "/new/a", "/new/a/y")]
    assert [match.side for match in others] == [Side.LEGACY] * 4


def test_declaration_for_an_endpoint_that_does_not_overlap_changes_nothing() -> None:
    table = build_table(
        flask_app("/x"), fastapi_app("/x", "/y"), declared_overlaps={"GET /x": "async", "GET /y": "legacy"}
    )
    assert [table.match("GET", path, "http", None).side for path in ("/x", "/y")] == [Side.LEGACY, Side.ASYNC]


def test_route_paired_for_one_method_overlaps_for_another() -> None:
    legacy = flask_app("/<any(a, b):x>", methods=["POST"])
    legacy.add_url_rule("/<any(a, b):x>", "get", view)
    legacy.add_url_rule("/<int:y>", "other", view)
    found = conflicts(legacy, fastapi_app("/{z}", methods=("GET", "POST")))
    assert found == [("GET /{z:str}", "/<any(a, b):x>", "/a", False)]
