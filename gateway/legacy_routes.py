"""The legacy side's routes: found inside any WSGI app, matched by the app's own Werkzeug map."""

import functools
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import BaseConverter, Map, MapAdapter, RequestRedirect, Rule

from gateway.templates import Template, parse_werkzeug

logger = logging.getLogger("gateway.routes")

# A Host header is the client's choice, so what is remembered of each must be bounded.
MAX_REMEMBERED_HOSTS = 256
# How deep to look for a Flask app inside wrappers; real stacks are two or three deep.
MAX_WRAPPERS = 8
ANY_METHOD = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class Outcome(Enum):
    """What the legacy app would do with a request, as far as its routes tell."""

    RULE = auto()
    REDIRECT = auto()
    NOT_ALLOWED = auto()
    NOT_FOUND = auto()
    UNKNOWN = auto()
    """Only the app itself can tell: not a Flask app, an untrusted host, a converter that failed."""


class LegacyMatch(NamedTuple):
    outcome: Outcome
    rule: Rule | None = None
    values: Mapping[str, Any] = {}


_REDIRECT, _NOT_ALLOWED = LegacyMatch(Outcome.REDIRECT), LegacyMatch(Outcome.NOT_ALLOWED)
_NOT_FOUND, _UNKNOWN = LegacyMatch(Outcome.NOT_FOUND), LegacyMatch(Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class LegacyRule:
    """One rule of a Flask app. `methods` leaves out what Flask adds by itself: HEAD to GET, and OPTIONS."""

    rule: Rule
    template: Template
    methods: frozenset[str]
    prefix: str = ""
    """Where a `DispatcherMiddleware` has the rule's app."""
    sample_host: str | None = None
    """A host that the app would answer this rule for; None if any will do."""
    one_way: re.Pattern[str] | None = None
    """Finds the texts of parameters whose values cannot be turned back into text; None if there are none."""

    def texts(self, path: str) -> dict[str, str]:
        """What `path`, which the rule matches, has for the parameters in `one_way`."""
        if self.one_way is None:
            return {}
        match = self.one_way.fullmatch("/" + path.removeprefix(self.prefix).lstrip("/"))
        if match is None:
            raise ValueError(path)
        return match.groupdict()

    @property
    def redirects(self) -> bool:
        """Whether the rule only ever redirects (`redirect_to=`, `alias=`): no view to take over."""
        return bool(self.rule.redirect_to or self.rule.alias)

    @property
    def text(self) -> str:
        return self.rule.rule


class FlaskRoutes:
    """The rules of one Flask app, as reached under `prefix`."""

    def __init__(self, app: Any, prefix: str = "") -> None:
        self.app = app
        self.prefix = prefix
        self.map: Map = app.url_map
        self._adapters: dict[tuple[str, str | None], MapAdapter | None] = {}
        self._only_adapter = None if self.depends_on_host else self.map.bind("localhost")

    @functools.cached_property
    def depends_on_host(self) -> bool:
        app = self.app
        return bool(
            self.map.host_matching
            or getattr(app, "subdomain_matching", False)
            or app.config.get("TRUSTED_HOSTS")
            or getattr(app.request_class, "trusted_hosts", None)
            or not app.create_url_adapter.__module__.startswith("flask.")
        )

    def rules(self) -> Iterator[LegacyRule]:
        for rule in self.map.iter_rules():
            if rule.build_only or rule.websocket:
                continue
            host = self._host(rule)
            template = parse_werkzeug(self.prefix + rule.rule, str(parse_werkzeug(host)))
            sample_host = re.sub(r"<.*?>", "sample", host) or self._any_host()
            yield LegacyRule(rule, template, _own_methods(rule), self.prefix, sample_host, _one_way_pattern(rule))

    def _host(self, rule: Rule) -> str:
        """The host that a rule is bound to, in Werkzeug's notation."""
        if self.map.host_matching:
            return rule.host or ""
        if rule.subdomain and rule.subdomain != self.map.default_subdomain:
            return f"{rule.subdomain}.{self.app.config.get('SERVER_NAME') or '*'}"
        return ""

    def _any_host(self) -> str | None:
        trusted = self.app.config.get("TRUSTED_HOSTS") or [None]
        name: str | None = self.app.config.get("SERVER_NAME") or trusted[0]
        return name and name.removeprefix(".")

    def websocket_paths(self) -> Iterator[str]:
        for rule in self.map.iter_rules():
            if rule.websocket:
                yield self.prefix + rule.rule
        if "socketio" in getattr(self.app, "extensions", {}):
            yield f"{self.prefix}/socket.io/"

    def match(self, method: str, path: str, scheme: str, host: str | None) -> LegacyMatch:
        adapter = self._only_adapter or self._adapter(scheme, host)
        if adapter is None:
            return _UNKNOWN
        try:
            rule, values = adapter.match(path, method, return_rule=True)
        except RequestRedirect:
            return _REDIRECT
        except MethodNotAllowed:
            return _NOT_ALLOWED
        except NotFound:
            return _NOT_FOUND
        except HTTPException:
            return _UNKNOWN
        except Exception:
            # A custom converter is the app's own code, and may count on an app context that only Flask can give it.
            logger.exception("matching %s failed in the legacy app's own code: Flask decides on such paths", method)
            return _UNKNOWN
        return LegacyMatch(Outcome.RULE, rule, values)

    def _adapter(self, scheme: str, host: str | None) -> MapAdapter | None:
        """The app's own binding to this host; None where the app refuses it (TRUSTED_HOSTS)."""
        key = (scheme, host)
        if key not in self._adapters:
            if len(self._adapters) >= MAX_REMEMBERED_HOSTS:
                self._adapters.clear()
            self._adapters[key] = self._bind(scheme, host)
        return self._adapters[key]

    def _bind(self, scheme: str, host: str | None) -> MapAdapter | None:
        environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": scheme,
        }
        if host is not None:
            environ["HTTP_HOST"] = host
        try:
            with warnings.catch_warnings():
                # Werkzeug warns of a host beside SERVER_NAME; Flask will say it once more when it serves the request.
                warnings.simplefilter("ignore")
                adapter: MapAdapter | None = self.app.create_url_adapter(self.app.request_class(environ))
        except HTTPException:
            return None
        except Exception:
            logger.exception("create_url_adapter failed outside a request: Flask decides on requests for that host")
            return None
        return adapter


class Dispatcher:
    """Several apps behind one `DispatcherMiddleware`: the longest mounted prefix takes the request."""

    def __init__(self, default: "Node", mounts: Mapping[str, "Node"]) -> None:
        self.default = default
        self.mounts = mounts

    def match(self, method: str, path: str, scheme: str, host: str | None) -> LegacyMatch:
        node, rest = self.find(path)
        return node.match(method, rest, scheme, host)

    def find(self, path: str) -> tuple["Node", str]:
        """The app for a path, and the rest of the path that it will see."""
        script, rest = path, ""
        while "/" in script:
            if script in self.mounts:
                break
            script, last = script.rsplit("/", 1)
            rest = f"/{last}{rest}"
        return self.mounts.get(script, self.default), rest

    def rules(self) -> Iterator[LegacyRule]:
        yield from self.default.rules()
        for node in self.mounts.values():
            yield from node.rules()


class Opaque:
    """A WSGI app whose routes cannot be known."""

    def __init__(self, name: str) -> None:
        self.name = name

    def match(self, method: str, path: str, scheme: str, host: str | None) -> LegacyMatch:
        return _UNKNOWN

    def rules(self) -> Iterator[LegacyRule]:
        return iter(())


Node = FlaskRoutes | Dispatcher | Opaque


@dataclass(frozen=True, slots=True)
class LegacyRoutes:
    """What was found in the legacy app, and what stands around it (`wrappers`: names, outermost first)."""

    node: Node
    wrappers: tuple[str, ...]

    @property
    def match(self) -> Callable[[str, str, str, str | None], LegacyMatch]:
        """`(method, path, scheme, Host header)`; the path decoded, as WSGI's PATH_INFO and ASGI's `path` have it."""
        return self.node.match

    def rules(self) -> Iterator[LegacyRule]:
        return self.node.rules()

    def hides(self, path: str) -> bool:
        """Whether a path belongs to an app that shows no routes: it may have the path or not."""
        node: Node = self.node
        while isinstance(node, Dispatcher):
            node, path = node.find(path)
        return isinstance(node, Opaque)

    @property
    def depends_on_host(self) -> bool:
        """Whether the same path may mean another rule, or none, for another Host header."""
        return any(node.depends_on_host for node in _leaves(self.node) if isinstance(node, FlaskRoutes))

    def websocket_paths(self) -> list[str]:
        """Paths on which the Flask apps want WebSockets (Flask-Sock, Flask-SocketIO); WSGI cannot give them any."""
        return [path for node in _leaves(self.node) if isinstance(node, FlaskRoutes) for path in node.websocket_paths()]

    def opaque_apps(self) -> list[str]:
        """Names of the apps that show no routes."""
        return [node.name for node in _leaves(self.node) if isinstance(node, Opaque)]


def _leaves(node: Node) -> Iterator[FlaskRoutes | Opaque]:
    if isinstance(node, Dispatcher):
        for inner in (node.default, *node.mounts.values()):
            yield from _leaves(inner)
    else:
        yield node


def find_routes(app: Callable[..., Any]) -> LegacyRoutes:
    """Look through WSGI middleware for the Flask apps inside `app`. Never fails: what it cannot read is opaque."""
    wrappers: list[str] = []
    node = _find(app, "", wrappers, ()) or Opaque(_name(app))
    return LegacyRoutes(node, tuple(wrappers))


def _find(obj: Any, prefix: str, wrappers: list[str], around: tuple[Any, ...]) -> Node | None:
    """The app inside `obj`, which was found inside the objects `around`, outermost first."""
    if len(around) == MAX_WRAPPERS or any(obj is outer for outer in around):
        return None
    around = (*around, obj)
    if _is_flask(obj):
        return _find_in_flask(obj, prefix, wrappers, around)
    owner = _attribute(obj, "__self__")
    if _is_flask(owner):
        return FlaskRoutes(owner, prefix)  # the bound method `app.wsgi_app`, as found inside a wrapper around it
    if isinstance(obj, DispatcherMiddleware):
        return _find_in_dispatcher(obj, prefix, wrappers, around)
    inner_wrappers: list[str] = []
    found = [node for part in _parts(obj) if (node := _find(part, prefix, inner_wrappers, around))]
    apps = {id(node.app) if isinstance(node, FlaskRoutes) else id(node) for node in found}
    if len(apps) != 1:
        return None  # nothing inside, or several apps between which only this wrapper's code can choose
    wrappers += [_name(obj), *inner_wrappers]
    return found[0]


def _find_in_flask(app: Any, prefix: str, wrappers: list[str], around: tuple[Any, ...]) -> Node:
    # `app.wsgi_app = Middleware(app.wsgi_app)` is Flask's own way to wrap an app.
    if getattr(app.wsgi_app, "__self__", None) is app:
        return FlaskRoutes(app, prefix)
    return _find(app.wsgi_app, prefix, wrappers, around) or Opaque(_name(app.wsgi_app))


def _find_in_dispatcher(obj: DispatcherMiddleware, prefix: str, wrappers: list[str], around: tuple[Any, ...]) -> Node:
    def find(app: Any, prefix: str) -> Node:
        return _find(app, prefix, wrappers, around) or Opaque(_name(app))

    return Dispatcher(find(obj.app, prefix), {mount: find(app, prefix + mount) for mount, app in obj.mounts.items()})


def _is_flask(obj: Any) -> bool:
    methods = ("wsgi_app", "create_url_adapter")
    return isinstance(_attribute(obj, "url_map"), Map) and all(callable(_attribute(obj, name)) for name in methods)


def _attribute(obj: Any, name: str) -> Any:
    try:
        return getattr(obj, name, None)
    except Exception:
        return None  # `flask.request` and its like outside of a request: no attribute of theirs can be read


def _parts(obj: Any) -> Iterator[Any]:
    """What a wrapper may keep the wrapped app in: an attribute, a closure, a partial's arguments."""
    if isinstance(obj, functools.partial):
        yield from (obj.func, *obj.args, *obj.keywords.values())
    elif inspect.ismethod(obj):
        yield obj.__self__
    elif inspect.isfunction(obj):
        if wrapped := _attribute(obj, "__wrapped__"):
            yield wrapped
        for cell in obj.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # an empty cell
                continue
    elif not isinstance(obj, type):
        yield from (value for value in (_attribute(obj, "__dict__") or {}).values() if callable(value))


def _own_methods(rule: Rule) -> frozenset[str]:
    if rule.methods is None:
        return ANY_METHOD
    methods = set(rule.methods)
    if "GET" in methods:
        methods.discard("HEAD")
    if getattr(rule, "provide_automatic_options", False):
        methods.discard("OPTIONS")
    return frozenset(methods)


def _one_way_pattern(rule: Rule) -> re.Pattern[str] | None:
    if not any(_is_one_way(converter) for converter in rule._converters.values()):
        return None
    pattern = ""
    for is_variable, text in rule._trace[rule._trace.index((False, "|")) + 1 :]:
        if is_variable:
            converter = rule._converters[text]
            pattern += f"(?P<{text}>{converter.regex})" if _is_one_way(converter) else f"(?:{converter.regex})"
        else:
            pattern += re.escape(text)
    return re.compile(pattern if rule.strict_slashes else pattern.removesuffix("/") + "/?")


def _is_one_way(converter: BaseConverter) -> bool:
    """Whether a class of the app's own converts from text, but has only the `to_url` of those that do not."""
    kind = type(converter)
    return kind.to_python is not BaseConverter.to_python and kind.to_url is BaseConverter.to_url


def _name(obj: Any) -> str:
    return getattr(obj, "__qualname__", None) or type(obj).__qualname__
