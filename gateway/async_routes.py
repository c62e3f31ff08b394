"""The async side's routes, and how a request that has been matched already reaches one of them directly."""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.convertors import Convertor
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import BaseRoute, Match, Mount, NoMatchFound, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.templates import Template, parse_starlette

# Where a scope carries its selection to the `SelectedRoute` of the app's router.
SELECTION = "gateway.selection"
ANY_METHOD = "*"
NO_METHODS: frozenset[str] = frozenset()
# How deep to look for the app inside ASGI middleware.
MAX_WRAPPERS = 16
_HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# What FastAPI's `{id}` with `id: int` says in the signature, Starlette's `{id:int}` says in the path.
_ANNOTATED_KINDS: Mapping[object, str] = {int: "int", float: "float", UUID: "uuid", str: "str"}


@dataclass(frozen=True, slots=True, eq=False)
class AsyncRoute:
    """One route of the async app. `methods` is `{"*"}` where any is taken: a mounted app, a class of its own."""

    type: Literal["http", "websocket"]
    template: Template
    methods: frozenset[str]
    app: ASGIApp
    route: Any
    """What the app's code finds as `scope["route"]`."""
    convertors: Mapping[str, Convertor[Any]] = field(default_factory=dict)
    endpoint: Any = None
    mounts: tuple[Mount, ...] = ()
    annotated: Mapping[str, str] = field(default_factory=dict)
    """Kinds that the handler's signature gives to parameters which the path leaves open."""
    path: str = field(init=False)
    """The template as text, which FastAPI asks for on every request."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.template))

    def select(self, path_params: dict[str, Any]) -> "Selection":
        return Selection(self, path_params, self.mounts)


@dataclass(slots=True)
class Selection:
    """A request's way through the async app: the mounts still to pass, then the route with its path parameters."""

    route: AsyncRoute
    path_params: dict[str, Any]
    mounts: tuple[Mount, ...]


class Refusal:
    """What a router answers to a path that it has for these methods only, or (no methods) only with a final slash."""

    def __init__(self, methods: frozenset[str]) -> None:
        self._headers = {"Allow": ", ".join(sorted(methods))} if methods else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._headers is None and scope["router"].redirect_slashes:
            url = URL(scope={**scope, "path": scope["path"] + "/"})
            await RedirectResponse(url)(scope, receive, send)
            return
        status = 404 if self._headers is None else 405
        if "app" in scope:  # its exception handlers decide how that looks
            raise HTTPException(status, headers=self._headers)
        await PlainTextResponse(HTTPStatus(status).phrase, status, self._headers)(scope, receive, send)

    def select(self) -> Selection:
        route = AsyncRoute("http", Template(()), NO_METHODS, self, route=None)
        return Selection(route, {}, ())


_matched: ContextVar[Selection | None] = ContextVar("gateway_matched_selection", default=None)


class SelectedRoute(BaseRoute):
    """The first route of a router: takes the requests for which the gateway chose a route, and no other.

    So the app's own middleware runs as ever, but its router neither searches (its cost grows with the number of
    routes) nor decides (Starlette's patterns and order are not Werkzeug's).
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        selection: Selection | None = scope.get(SELECTION)
        if selection is None:
            return Match.NONE, {}
        _matched.set(selection)
        if selection.mounts:
            return selection.mounts[0].matches(scope)
        if isinstance(selection.route.app, Refusal):
            return Match.FULL, {}
        path_params = selection.path_params
        if outer := scope.get("path_params"):
            path_params = {**outer, **path_params}
        route = selection.route
        return Match.FULL, {"endpoint": route.endpoint, "path_params": path_params, "route": route.route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        selection: Selection = scope.pop(SELECTION)
        if not selection.mounts:
            await selection.route.app(scope, receive, send)
            return
        mount, *inner = selection.mounts
        if inner or selection.route.app is not mount.app:
            scope[SELECTION] = Selection(selection.route, selection.path_params, tuple(inner))
        await mount.app(scope, receive, send)

    @property
    def path(self) -> str:
        """The template of the route that was matched last: what tracing reads off the route which said it matches."""
        selection = _matched.get()
        return "" if selection is None else selection.route.path

    path_format = path

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)


def install(app: ASGIApp) -> bool:
    """Give the app's routers their `SelectedRoute`; False if there is no Starlette router to give one to."""
    starlette = find_starlette(app)
    if starlette is None:
        return False
    routes: list[BaseRoute] = starlette.router.routes if hasattr(starlette, "router") else starlette.routes
    if not (routes and isinstance(routes[0], SelectedRoute)):
        routes.insert(0, SelectedRoute())
    for context in iter_route_contexts(routes):
        if isinstance(context.original_route, Mount):
            install(context.original_route.app)
    return True


def find_starlette(app: Any) -> Any:
    """The FastAPI or Starlette app (or bare Router) inside ASGI middleware, which keeps what it wraps as `app`."""
    for _ in range(MAX_WRAPPERS):
        if isinstance(getattr(app, "routes", None), list):
            return app
        app = getattr(app, "app", None)
    return None


def list_routes(app: ASGIApp, *, docs: bool = False) -> Iterator[AsyncRoute]:
    """Every route in the app's own order, mounted apps included; none for an app that is not Starlette's.

    FastAPI's documentation pages are left out unless `docs`: nobody moved them, and they publish what there is.
    """
    starlette = find_starlette(app)
    if starlette is None:
        return
    yield from _list(starlette, "", (), docs)


def _list(app: Any, prefix: str, mounts: tuple[Mount, ...], docs: bool) -> Iterator[AsyncRoute]:
    hidden = set() if docs else _documentation_paths(app)
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if context.path in hidden:
            continue
        if isinstance(route, Mount):
            yield from _list_mount(_mount(context, route), prefix, mounts, docs)
        elif isinstance(route, WebSocketRoute):
            yield _async_route("websocket", context, prefix, frozenset({"GET"}), mounts)
        elif isinstance(route, Route):
            yield _async_route("http", context, prefix, _methods(context), mounts)


def _documentation_paths(app: Any) -> set[str]:
    names = ("openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url")
    return {path for name in names if (path := getattr(app, name, None))}


def _mount(context: RouteContext, route: Mount) -> Mount:
    """The mount as the context has it: inside an included router its path has that router's prefix."""
    return route if context.path == route.path else Mount(context.path or "", app=route.app, name=route.name)


def _list_mount(mount: Mount, prefix: str, mounts: tuple[Mount, ...], docs: bool) -> Iterator[AsyncRoute]:
    inner = find_starlette(mount.app)
    if inner is not None:
        yield from _list(inner, prefix + mount.path, (*mounts, mount), docs)
        return
    yield AsyncRoute(
        type="http",
        template=parse_starlette(f"{prefix}{mount.path}/{{path:path}}"),
        methods=frozenset({ANY_METHOD}),
        app=mount.app,
        route=mount,
        mounts=(*mounts, mount),
    )


def _async_route(
    type_: Literal["http", "websocket"],
    context: RouteContext,
    prefix: str,
    methods: frozenset[str],
    mounts: tuple[Mount, ...],
) -> AsyncRoute:
    return AsyncRoute(
        type=type_,
        template=parse_starlette(prefix + (context.path or "")),
        methods=methods,
        app=context.app,
        route=context.original_route,
        convertors={**_mounts_convertors(mounts), **context.param_convertors},
        endpoint=context.endpoint,
        mounts=mounts,
        annotated=dict(_annotated_kinds(context)),
    )


def _mounts_convertors(mounts: tuple[Mount, ...]) -> dict[str, Convertor[Any]]:
    return {name: convertor for mount in mounts for name, convertor in mount.param_convertors.items()}


def _methods(context: RouteContext) -> frozenset[str]:
    if context.methods:
        return frozenset(context.methods)
    endpoint: Callable[..., Any] | None = context.endpoint
    # An HTTPEndpoint class answers the methods it defines; any other class is an ASGI app and may answer all.
    defined = {method for method in _HTTP_METHODS if callable(getattr(endpoint, method.lower(), None))}
    return frozenset(defined or {ANY_METHOD})


def _annotated_kinds(context: RouteContext) -> Iterator[tuple[str, str]]:
    dependant = getattr(context, "dependant", None)
    for parameter in getattr(dependant, "path_params", ()):
        kind = _ANNOTATED_KINDS.get(parameter.field_info.annotation)
        if kind:
            yield parameter.alias, kind
