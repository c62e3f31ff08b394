"""The endpoint table: built once from both apps, then asked about every request."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.async_map import AsyncMap
from gateway.async_routes import NO_METHODS, AsyncRoute, install, list_routes
from gateway.endpoints import Endpoint, EndpointNames, Side
from gateway.errors import RouteConflictError
from gateway.legacy_routes import LegacyRoutes, Outcome, find_routes
from gateway.overlaps import Overlap, find_overlaps
from gateway.pairing import pair
from gateway.plan import Owner
from gateway.templates import parse_werkzeug

# The paths are the clients' choice, so what is remembered of them is bounded, in number and length.
MAX_REMEMBERED = 4096
MAX_REMEMBERED_PATH = 256


class Match(NamedTuple):
    """What the table knows of a request. Without an endpoint (redirects, 404, 405, `OPTIONS`) `side` answers."""

    endpoint: Endpoint | None
    values: Mapping[str, Any]
    side: Side
    allow: frozenset[str] = NO_METHODS
    """Methods that the path has on the async side alone: the answer's `Allow` must name them too."""


_LEGACY = Match(None, {}, Side.LEGACY)
_ASYNC = Match(None, {}, Side.ASYNC)


class EndpointTable:
    """All endpoints of both sides.

    A request is matched by the legacy app's own Werkzeug map. Only what that leaves over, or was declared to give up,
    reaches the endpoints that the async side has alone. The cost does not grow with the number of routes.
    """

    def __init__(
        self,
        legacy: LegacyRoutes | None,
        endpoints: Sequence[Endpoint],
        websockets: Sequence[AsyncRoute] = (),
        overlaps: Sequence[Overlap] = (),
    ) -> None:
        self.legacy = legacy
        self.endpoints: Mapping[str, Endpoint] = {endpoint.id: endpoint for endpoint in endpoints}
        self.names = EndpointNames(endpoints)
        self.overlaps = tuple(overlaps)
        self._async = AsyncMap((endpoint for endpoint in endpoints if endpoint.rule is None), websockets)
        self._by_rule = _index(legacy, endpoints)
        given_up = [overlap for overlap in overlaps if overlap.owner == "async"]
        self._given_up: dict[int, set[Endpoint]] = defaultdict(set)
        for overlap in given_up:
            self._given_up[id(overlap.rule.rule)].add(overlap.endpoint)
        self._redirects_given_up = {overlap.endpoint for overlap in given_up if overlap.redirect}
        self._fixed = dict(self._match_fixed_paths())
        # Paths that the same endpoint was found for lately: half of what a request with parameters costs is matching.
        self._recent: dict[tuple[str, str], Match] = {}
        self._memorable = set(self._match_always_alike())

    def match(self, method: str, path: str, scheme: str, host: str | None) -> Match:
        """`path` decoded, as ASGI has it; `host` is the Host header."""
        known = self._fixed.get((method, path)) or self._recent.get((method, path))
        if known is not None:
            return known
        match = self._match(method, path, scheme, host)
        if match.endpoint in self._memorable and len(path) <= MAX_REMEMBERED_PATH:
            if len(self._recent) >= MAX_REMEMBERED:
                self._recent.clear()
            self._recent[method, path] = match
        return match

    def _match_always_alike(self) -> Iterator[Endpoint]:
        """Endpoints for which a path's match depends on nothing else, and runs no code of the app's."""
        if self.legacy is None or self.legacy.depends_on_host:
            return
        for endpoint in self.endpoints.values():
            converters = endpoint.rule.rule._converters.values() if endpoint.rule is not None else ()
            own = any(type(converter).__module__ != "werkzeug.routing.converters" for converter in converters)
            if endpoint.rule is not None and not own and id(endpoint.rule.rule) not in self._given_up:
                yield endpoint

    def _match_fixed_paths(self) -> Iterator[tuple[tuple[str, str], Match]]:
        """Requests whose match is known beforehand: for endpoints without parameters, whatever the host."""
        if self.legacy is not None and self.legacy.depends_on_host:
            return
        for endpoint in self.endpoints.values():
            if endpoint.template.parameters or endpoint.template.host:
                continue
            path = str(endpoint.template)
            for method in (endpoint.method, "HEAD") if endpoint.method == "GET" else (endpoint.method,):
                match = self._match(method, path, "http", None)
                if match.endpoint is endpoint:
                    yield (method, path), match

    def _match(self, method: str, path: str, scheme: str, host: str | None) -> Match:
        if self.legacy is None:
            return self._match_async(method, path) or _ASYNC
        outcome, rule, values = self.legacy.match(method, path, scheme, host)
        if rule is None:
            return self._match_without_rule(outcome, method, path)
        if given_up := self._given_up.get(id(rule)):
            other = self._match_async(method, path)
            if other is not None and other.endpoint in given_up:
                return other
        endpoint = self._by_rule.get(id(rule), {}).get(method)
        if endpoint is None:  # Flask's automatic OPTIONS, or a rule that was added since
            return Match(None, values, Side.LEGACY, self._async.methods(path))
        return Match(endpoint, values, Side.LEGACY)

    def match_websocket(self, path: str) -> tuple[AsyncRoute, dict[str, Any]] | None:
        """The async side's WebSocket route for the path, with its path parameters."""
        return self._async.match_websocket(path)

    def _match_async(self, method: str, path: str) -> Match | None:
        found = self._async.match(method, path)
        return None if found is None else Match(found[0], found[1], Side.ASYNC)

    def _match_without_rule(self, outcome: Outcome, method: str, path: str) -> Match:
        match = self._match_async(method, path)
        if match is not None and match.endpoint is not None and self._may_answer(match.endpoint, outcome):
            return match
        if outcome in (Outcome.UNKNOWN, Outcome.REDIRECT):
            return _LEGACY
        # A path that only the async side knows (for other methods, or with a final slash) is its to refuse.
        side = Side.ASYNC if outcome is Outcome.NOT_FOUND and self._async.knows(path) else Side.LEGACY
        return Match(None, {}, side, self._async.methods(path))

    def _may_answer(self, endpoint: Endpoint, outcome: Outcome) -> bool:
        if outcome is Outcome.UNKNOWN:
            return endpoint.presumed
        return outcome is not Outcome.REDIRECT or endpoint in self._redirects_given_up


def build_table(
    legacy_app: Callable[..., Any] | None,
    async_app: Callable[..., Any] | None,
    *,
    declared_overlaps: Mapping[str, Owner] | None = None,
    docs: bool = False,
) -> EndpointTable:
    """Read both apps' routes. Raises RouteConflictError for what one side would silently take from the other.

    Prepares `async_app` for direct selection of its routes (see `async_routes.SelectedRoute`).
    """
    legacy = find_routes(legacy_app) if legacy_app is not None else None
    routes = list(list_routes(async_app, docs=docs)) if async_app is not None else []
    http = [route for route in routes if route.type == "http"]
    websockets = [route for route in routes if route.type == "websocket"]
    endpoints = pair(legacy.rules() if legacy else (), http, legacy.hides if legacy else lambda path: False)
    overlaps = list(find_overlaps(legacy, endpoints, declared_overlaps or {})) if legacy else []
    undeclared = [str(overlap) for overlap in overlaps if overlap.owner is None]
    undeclared += _lost_websockets(legacy, websockets, declared_overlaps or {}) if legacy else []
    if undeclared:
        raise RouteConflictError(undeclared)
    if async_app is not None:
        install(async_app)
    return EndpointTable(legacy, endpoints, websockets, overlaps)


def _lost_websockets(
    legacy: LegacyRoutes, websockets: Sequence[AsyncRoute], declared: Mapping[str, Owner]
) -> list[str]:
    """What to say of WebSocket routes that the Flask app has and nobody will answer."""
    ported = {route.template.shape for route in websockets}
    return [
        f"the Flask app's WebSocket route '{path}' cannot be reached: a WSGI app has no socket under an ASGI server. "
        f'Give the async app a WebSocket route for it, or declare overlaps = {{ "WEBSOCKET {path}" = "legacy" }} '
        "to do without"
        for path in legacy.websocket_paths()
        if parse_werkzeug(path).shape not in ported and f"WEBSOCKET {path}" not in declared
    ]


def _index(legacy: LegacyRoutes | None, endpoints: Sequence[Endpoint]) -> dict[int, dict[str, Endpoint]]:
    """Endpoints by legacy rule and request method. Rules that repeat a path share its endpoint."""
    by_place = {(endpoint.method, endpoint.template): endpoint for endpoint in endpoints if endpoint.rule is not None}
    index: dict[int, dict[str, Endpoint]] = defaultdict(dict)
    for rule in legacy.rules() if legacy else ():
        for method in {*rule.methods, *(rule.rule.methods or ("HEAD",))}:
            place = (method, rule.template)
            if method == "HEAD":
                place = place if place in by_place else ("GET", rule.template)
            if place in by_place:
                index[id(rule.rule)][method] = by_place[place]
    return index
