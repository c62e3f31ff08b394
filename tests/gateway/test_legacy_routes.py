import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, current_app, request
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, Map, Rule

from gateway.legacy_routes import (
    ANY_METHOD,
    MAX_REMEMBERED_HOSTS,
    FlaskRoutes,
    LegacyRoutes,
    Outcome,
    find_routes,
)

WsgiApp = Callable[..., Iterable[bytes]]


class Wrapper:
    """A WSGI middleware as most are."""

    def __init__(self, app: WsgiApp, **others: Any) -> None:
        self.app = app
        self.__dict__.update(others)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return self.app(environ, start_response)


def flask_app(*rules: str, **options: Any) -> Flask:
    app = Flask("legacy", static_folder=None, **options)
    for rule in rules:
        app.add_url_rule(rule, rule, view)
    return app


def view(**values: Any) -> str:
    return "flask"


def plain(environ: Any, start_response: Any) -> list[bytes]:
    return []


def closed_over(app: WsgiApp) -> WsgiApp:
    def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
        return app(environ, start_response)

    return middleware


def decorated(app: WsgiApp) -> WsgiApp:
    @functools.wraps(app.__call__)  # type: ignore[operator]
    def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
        return app(environ, start_response)

    return middleware


def through_partial(app: WsgiApp) -> WsgiApp:
    def serve(inner: WsgiApp, environ: Any, start_response: Any) -> Iterable[bytes]:
        return inner(environ, start_response)

    return functools.partial(serve, app)


def by_keyword(app: WsgiApp) -> WsgiApp:
    def serve(environ: Any, start_response: Any, *, inner: WsgiApp) -> Iterable[bytes]:
        return inner(environ, start_response)

    return functools.partial(serve, inner=app)


def by_attribute(app: WsgiApp) -> WsgiApp:
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[attr-defined]
    return app


def by_itself(app: WsgiApp) -> WsgiApp:
    """As extensions do it that want the app as well."""
    app.wsgi_app = Wrapper(app.wsgi_app, flask=app)  # type: ignore[attr-defined]
    return app


def as_method(app: WsgiApp) -> WsgiApp:
    return Wrapper(app).__call__


def beside_proxies(app: WsgiApp) -> WsgiApp:
    """`flask.request` and its like raise for any attribute outside of a request."""
    return Wrapper(app, request=request, current=current_app)


def in_circles(app: WsgiApp) -> WsgiApp:
    wrapper = Wrapper(app)
    wrapper.handlers_0 = wrapper.handlers_1 = wrapper  # type: ignore[attr-defined]
    for number in range(100):
        setattr(wrapper, f"handler_{number}", closed_over(wrapper))
    return wrapper


def paths(routes: LegacyRoutes) -> list[str]:
    return [str(rule.template) for rule in routes.rules()]


def outcome(routes: LegacyRoutes | FlaskRoutes, path: str, method: str = "GET", host: str | None = None) -> Outcome:
    return routes.match(method, path, "http", host).outcome


@pytest.mark.parametrize(
    "wrap",
    [
        lambda app: app,
        lambda app: app.wsgi_app,
        ProxyFix,
        by_attribute,
        by_itself,
        Wrapper,
        closed_over,
        decorated,
        through_partial,
        by_keyword,
        as_method,
        beside_proxies,
        in_circles,
        lambda app: Wrapper(closed_over(ProxyFix(through_partial(app.wsgi_app)))),
    ],
)
def test_flask_app_is_found_however_it_is_wrapped(wrap: Callable[[Flask], WsgiApp]) -> None:
    routes = find_routes(wrap(flask_app("/a", "/b/<int:x>")))
    assert paths(routes) == ["/a", "/b/{x}"]
    assert routes.opaque_apps() == []
    assert not routes.hides("/a")


def test_wrappers_are_named_outermost_first() -> None:
    routes = find_routes(Wrapper(ProxyFix(closed_over(flask_app()))))
    assert routes.wrappers == ("Wrapper", "ProxyFix", "closed_over.<locals>.middleware")


class Shortly:
    """The app of Werkzeug's tutorial: it has a map, and nothing that binds it to a request."""

    def __init__(self) -> None:
        self.url_map = Map([Rule("/", endpoint="x")])

    def wsgi_app(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return self.wsgi_app(environ, start_response)


@pytest.mark.parametrize(
    ("app", "name"),
    [
        (plain, "plain"),
        (Wrapper(plain), "Wrapper"),
        (Shortly(), "Shortly"),
        (Wrapper(flask_app("/a"), other=flask_app("/b")), "Wrapper"),
        (functools.reduce(lambda inner, _: Wrapper(inner), range(8), flask_app("/a")), "Wrapper"),
    ],
)
def test_app_that_shows_no_routes_is_opaque(app: WsgiApp, name: str) -> None:
    routes = find_routes(app)
    assert (paths(routes), routes.opaque_apps(), routes.hides("/a")) == ([], [name], True)
    assert outcome(routes, "/a") is Outcome.UNKNOWN


def test_two_ways_to_one_app_are_one_app() -> None:
    app = flask_app("/a")
    assert paths(find_routes(Wrapper(app, same=closed_over(app)))) == ["/a"]


def test_wsgi_app_that_replaces_flasks_own_is_opaque() -> None:
    app = flask_app("/a")
    app.wsgi_app = plain  # type: ignore[method-assign]
    assert find_routes(app).opaque_apps() == ["plain"]


@pytest.fixture
def dispatched() -> LegacyRoutes:
    inner = DispatcherMiddleware(flask_app("/list"), {"/deep": flask_app("/x"), "/plain": plain})
    return find_routes(ProxyFix(DispatcherMiddleware(flask_app("/", "/api/old"), {"/api": inner})))


def test_dispatched_apps_have_their_prefixes(dispatched: LegacyRoutes) -> None:
    assert paths(dispatched) == ["/", "/api/old", "/api/list", "/api/deep/x"]
    assert dispatched.opaque_apps() == ["plain"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Outcome.RULE),
        ("/api/list", Outcome.RULE),
        ("/api/deep/x", Outcome.RULE),
        ("/api/old", Outcome.NOT_FOUND),
        ("/apilist", Outcome.NOT_FOUND),
        ("/api/deepx", Outcome.NOT_FOUND),
        ("/api/plain/anything", Outcome.UNKNOWN),
        ("/api/plainer", Outcome.NOT_FOUND),
        ("//api/list", Outcome.NOT_FOUND),
        ("/api//list", Outcome.RULE),
    ],
)
def test_dispatched_request_is_matched_by_the_app_that_gets_it(
    dispatched: LegacyRoutes, path: str, expected: Outcome
) -> None:
    assert outcome(dispatched, path) is expected


@pytest.mark.parametrize(
    ("path", "hidden"), [("/api/plain", True), ("/api/plain/x", True), ("/api/plainer", False), ("/api/x", False)]
)
def test_only_the_opaque_app_hides_paths(dispatched: LegacyRoutes, path: str, hidden: bool) -> None:
    assert dispatched.hides(path) is hidden


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/a", Outcome.RULE),
        ("HEAD", "/a", Outcome.RULE),
        ("OPTIONS", "/a", Outcome.RULE),
        ("POST", "/a", Outcome.NOT_ALLOWED),
        ("GET", "//a", Outcome.RULE),
        ("GET", "/branch", Outcome.REDIRECT),
        ("GET", "/branch/", Outcome.RULE),
        ("GET", "/old", Outcome.REDIRECT),
        ("GET", "/n/7", Outcome.RULE),
        ("GET", "/n//7", Outcome.REDIRECT),
        ("GET", "/n/x", Outcome.NOT_FOUND),
        ("GET", "/a\n", Outcome.NOT_FOUND),
        ("GET", "", Outcome.NOT_FOUND),
        ("GET", "*", Outcome.NOT_FOUND),
    ],
)
def test_match_says_what_flask_would_do(method: str, path: str, expected: Outcome) -> None:
    app = flask_app("/a", "/branch/", "/n/<int:x>")
    app.url_map.add(Rule("/old", redirect_to="a"))
    assert outcome(find_routes(app), path, method) is expected


def test_match_gives_the_rule_and_its_converted_values() -> None:
    routes = find_routes(flask_app("/<name>", "/<int:number>"))
    _, rule, values = routes.match("GET", "/\u0667", "http", None)
    assert rule is not None
    assert (rule.rule, values) == ("/<int:number>", {"number": 7})


def test_rules_leave_out_what_flask_adds_and_what_no_request_reaches() -> None:
    app = flask_app()
    app.add_url_rule("/a", "a", view, methods=["GET", "POST"])
    app.add_url_rule("/o", "o", view, methods=["OPTIONS", "HEAD"])
    app.url_map.add(Rule("/any", endpoint="any"))
    app.url_map.add(Rule("/made", endpoint="a", build_only=True))
    app.url_map.add(Rule("/ws", endpoint="a", websocket=True))
    rules = {rule.text: rule.methods for rule in find_routes(app).rules()}
    assert rules == {"/a": {"GET", "POST"}, "/o": {"OPTIONS", "HEAD"}, "/any": ANY_METHOD}


def test_blueprints_have_their_prefixes() -> None:
    outer, inner, app = Blueprint("outer", "x"), Blueprint("inner", "x"), flask_app()
    inner.add_url_rule("/<int:x>", "x", view)
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    assert paths(find_routes(app)) == ["/outer/inner/{x}"]


def test_trusted_hosts_are_asked_for_each_host() -> None:
    app = flask_app("/a", "/b")
    app.config["TRUSTED_HOSTS"] = ["shop.test"]
    routes = find_routes(app)
    outcomes = {host: outcome(routes, "/a", host=host) for host in ("shop.test", "evil.test", "shop.test:81", None)}
    assert outcomes == {
        "shop.test": Outcome.RULE,
        "evil.test": Outcome.UNKNOWN,
        "shop.test:81": Outcome.RULE,
        None: Outcome.UNKNOWN,
    }
    assert [rule.sample_host for rule in routes.rules()] == ["shop.test", "shop.test"]


def test_trusted_hosts_of_a_request_class_count_too() -> None:
    class GuardedRequest(Request):
        trusted_hosts = ["shop.test"]  # noqa: RUF012

    app = flask_app("/a")
    app.request_class = GuardedRequest
    outcomes = [outcome(find_routes(app), "/a", host=host) for host in ("shop.test", "evil.test")]
    assert outcomes == [Outcome.RULE, Outcome.UNKNOWN]


def test_url_adapter_of_the_apps_own_is_asked() -> None:
    class Tenants(Flask):
        def create_url_adapter(self, request: Request | None) -> Any:
            assert request is not None
            if request.host == "down.test":
                raise RuntimeError("the app's own trouble")
            if request.host == "gone.test":
                raise NotFound
            return self.url_map.bind("x", subdomain=request.host.partition(".")[0])

    app = Tenants("legacy", static_folder=None)
    app.add_url_rule("/a", "a", view, subdomain="one")
    routes = find_routes(app)
    hosts = ("one.test", "two.test", "gone.test")
    assert [outcome(routes, "/a", host=host) for host in hosts] == [
        Outcome.RULE,
        Outcome.NOT_FOUND,
        Outcome.UNKNOWN,
    ]


def test_url_adapter_that_fails_leaves_the_request_to_flask(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Flask):
        def create_url_adapter(self, request: Request | None) -> Any:
            raise RuntimeError("the app's own trouble")

    app = Broken("legacy", static_folder=None)
    app.add_url_rule("/a", "a", view)
    with caplog.at_level(logging.ERROR):
        assert outcome(find_routes(app), "/a", host="a.test") is Outcome.UNKNOWN
    assert [record.message for record in caplog.records] == [
        "create_url_adapter failed outside a request: Flask decides on requests for that host"
    ]


def test_converter_that_fails_leaves_the_request_to_flask(caplog: pytest.LogCaptureFixture) -> None:
    class FromDatabase(BaseConverter):
        def to_python(self, value: str) -> str:
            return str(current_app.config["ROWS"][value])

    app = flask_app()
    app.url_map.converters["row"] = FromDatabase
    app.add_url_rule("/<row:x>", "x", view)
    with caplog.at_level(logging.ERROR):
        assert outcome(find_routes(app), "/a") is Outcome.UNKNOWN
    assert "in the legacy app's own code" in caplog.text


def test_hosts_that_clients_make_up_are_forgotten() -> None:
    app = flask_app("/a", host_matching=True)
    routes = FlaskRoutes(app)
    for number in range(MAX_REMEMBERED_HOSTS + 10):
        outcome(routes, "/a", host=f"{number}.test")
    assert len(routes._adapters) <= MAX_REMEMBERED_HOSTS


def test_server_name_alone_binds_nothing_to_a_host() -> None:
    app = flask_app("/a")
    app.config["SERVER_NAME"] = "shop.test"
    assert outcome(find_routes(app), "/a", host="other.test") is Outcome.RULE


@pytest.mark.parametrize(
    ("rule", "strict", "path", "texts"),
    [
        ("/x/<hex:a>", True, "/x/ff", {"a": "ff"}),
        ("/x/<hex:a>", False, "//x/ff/", {"a": "ff"}),
        ("/x/<hex:a>/", False, "/x/ff", {"a": "ff"}),
        ("/x/<hex:a>-<int:b>.<hex:c>", True, "/x/0f-1.a", {"a": "0f", "c": "a"}),
        ("/x/<path:p>/<hex:a>", True, "/x/a/b/c", {"a": "c"}),
        ("/x/<int:a>", True, "/x/1", {}),
    ],
)
def test_texts_are_what_converters_without_to_url_were_given(
    rule: str, strict: bool, path: str, texts: dict[str, str]
) -> None:
    class Hex(BaseConverter):
        regex = "[0-9a-f]+"

        def to_python(self, value: str) -> int:
            return int(value, 16)

    app = flask_app()
    app.url_map.converters["hex"] = Hex
    app.add_url_rule(rule, "x", view, strict_slashes=strict)
    (found,) = FlaskRoutes(app, "/api").rules()
    assert found.texts(f"/api{path}") == texts
