"""Sends each request to the side that its endpoint's stage names. Pure ASGI, on the way of every request."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from time import perf_counter
from types import MappingProxyType
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.async_routes import SELECTION, Refusal
from gateway.bridge import CALLED_AT, Bridge
from gateway.canary import CallerKey, caller, in_canary
from gateway.endpoints import Endpoint, Side
from gateway.plan import Placement, Plan, Stage
from gateway.request_ids import RequestIds
from gateway.stock_bridge import StockBridge
from gateway.table import EndpointTable, Match
from gateway.traffic import UNMATCHED, Traffic

logger = logging.getLogger("gateway.dispatcher")

FORCE_HEADER = b"x-gateway-upstream"
TOKEN_HEADER = b"x-gateway-token"
REQUEST_ID_HEADER = b"x-request-id"
# The request headers that the dispatcher itself reads.
_OWN_HEADERS = frozenset({b"host", FORCE_HEADER, TOKEN_HEADER, REQUEST_ID_HEADER})
_ANSWERED_BY: Mapping[Stage, Side | None] = {
    Stage.LEGACY: Side.LEGACY,
    Stage.SHADOW: Side.LEGACY,
    Stage.CANARY: None,  # depends on the caller
    Stage.VERIFY: Side.ASYNC,
    Stage.ASYNC: Side.ASYNC,
    Stage.RETIRED: Side.ASYNC,
}
RETRY_AFTER_S = 1


class Dispatcher:
    """Matches a request, asks the plan, and hands it to one upstream, whose answer it marks and counts.

    `use_plan` replaces the snapshot by which requests are placed; until then every endpoint stands where it starts.
    """

    def __init__(
        self,
        table: EndpointTable,
        *,
        legacy: Bridge | StockBridge | None,
        target: ASGIApp | None,
        traffic: Traffic,
        request_ids: RequestIds,
        caller_keys: Sequence[CallerKey],
        token: str,
        limits_s: Mapping[Endpoint | None, float] = MappingProxyType({}),
        default_limit_s: float | None = None,
    ) -> None:
        """`limits_s`: how long a legacy answer may take to begin, for single endpoints; for all others the default."""
        self.table = table
        self.target_state: dict[str, Any] = {}
        """What the async app's lifespan left for its requests, as `scope["state"]`."""
        self._legacy = legacy
        self._target = target
        self._traffic = traffic
        self._request_ids = request_ids
        self._caller_keys = caller_keys
        self._token = token.encode()
        self._limits = limits_s
        self._default_limit_s = default_limit_s
        self._placements: Mapping[Endpoint, Placement] = {}
        self.use_plan(Plan())

    def use_plan(self, plan: Plan) -> None:
        endpoints = self.table.endpoints.values()
        self._placements = {endpoint: endpoint.placement(plan.placements) for endpoint in endpoints}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        started = perf_counter()
        own = {name: value for name, value in reversed(scope["headers"]) if name in _OWN_HEADERS}
        host = own.get(b"host")
        path = take_path(scope)
        scope["method"] = scope["method"].upper()  # the ASGI specification's promise, which uvicorn's h11 does not keep
        match = self.table.match(
            scope["method"], path, scope.get("scheme", "http"), None if host is None else host.decode("latin-1")
        )
        side = self._side(match, scope)
        if FORCE_HEADER in own or TOKEN_HEADER in own:
            scope["headers"] = [item for item in scope["headers"] if item[0] not in (FORCE_HEADER, TOKEN_HEADER)]
        if FORCE_HEADER in own:
            forced = self._forced_side(own, match)
            if not isinstance(forced, Side):
                await forced(scope, receive, send)
                return
            side = forced
        if side is Side.ASYNC and not self._select(scope, match, path):
            side = Side.LEGACY
        request_id = self._request_ids.of(own.get(REQUEST_ID_HEADER), scope)
        scope["gateway.request_id"] = request_id
        endpoint = match.endpoint
        series = self._traffic.series(UNMATCHED if endpoint is None else endpoint.id, side)
        answer = Answer(scope, send, side, request_id, started, match.allow)
        try:
            limit_s = self._limits.get(endpoint, self._default_limit_s) if side is Side.LEGACY else None
            if limit_s is None:
                await self._upstream(side)(scope, receive, answer.send)
            else:
                await self._upstream_in_time(limit_s, scope, receive, answer)
        finally:
            series.add(answer.status if answer.complete else 0, (answer.began or perf_counter()) - started)
            if answer.waited_s is not None:
                series.add_wait(answer.waited_s)

    async def _upstream_in_time(self, limit_s: float, scope: Scope, receive: Receive, answer: "Answer") -> None:
        """The legacy side, given up with 504 if its answer does not begin in time; its thread ends with the view."""
        try:
            async with asyncio.timeout(limit_s) as deadline:
                answer.deadline = deadline
                await self._upstream(Side.LEGACY)(scope, receive, answer.send)
        except TimeoutError:
            if not deadline.expired():
                raise  # the app's own
            answer.deadline = None
            await _too_late(scope, receive, answer.send)

    def _upstream(self, side: Side) -> ASGIApp:
        if side is Side.ASYNC:
            assert self._target is not None
            return self._target
        assert self._legacy is not None
        return _saturated if self._legacy.saturated else self._legacy

    def _side(self, match: Match, scope: Scope) -> Side:
        if match.endpoint is None:
            return match.side
        placement = self._placements[match.endpoint]
        side = _ANSWERED_BY[placement.stage]
        if side is None:
            address = scope["client"][0] if scope.get("client") else ""
            key = caller(self._caller_keys, scope["headers"], address)
            side = Side.ASYNC if in_canary(key, placement.percent or 0) else Side.LEGACY
        return side

    def _forced_side(self, own: Mapping[bytes, bytes], match: Match) -> Side | ASGIApp:
        """The side that a tester asked for, or the answer that says why not."""
        if not compare_digest(own.get(TOKEN_HEADER, b""), self._token):
            return JSONResponse({"detail": "X-Gateway-Upstream needs the admin token in X-Gateway-Token"}, 403)
        wanted = own[FORCE_HEADER].decode("latin-1")
        if wanted not in (Side.LEGACY, Side.ASYNC):
            return JSONResponse({"detail": f"X-Gateway-Upstream must be 'legacy' or 'async', not '{wanted}'"}, 400)
        endpoint = match.endpoint
        has = {Side.LEGACY: endpoint is not None and endpoint.has_legacy, Side.ASYNC: bool(endpoint and endpoint.route)}
        if not has[Side(wanted)]:
            what = "no endpoint matches this request" if endpoint is None else f"'{endpoint.id}' is not there"
            return JSONResponse({"detail": f"cannot force the {wanted} side: {what}"}, 404)
        return Side(wanted)

    def _select(self, scope: Scope, match: Match, path: str) -> bool:
        """Prepare the scope for the async app; False if its route cannot take this request after all."""
        endpoint = match.endpoint
        route = endpoint.route_for(scope["method"]) if endpoint is not None else None
        if endpoint is not None and route is not None:
            try:
                scope[SELECTION] = route.select(endpoint.path_params(route, match.values, path))
            except ValueError:
                logger.warning("the async side's convertors refuse a path of '%s' that Flask takes", endpoint.id)
                if endpoint.has_legacy:
                    return False
        elif endpoint is None and self.table.legacy is not None:
            # The app's own router must not look: it might find a route that is not its to answer with here.
            scope[SELECTION] = Refusal(match.allow).select()
        _collapse_slashes(scope, path)
        scope["state"] = self.target_state.copy()
        return True

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = take_path(scope)
        found = self.table.match_websocket(path)
        if found is not None and self._target is not None:
            route, path_params = found
            scope[SELECTION] = route.select(path_params)
        elif self.table.legacy is not None or self._target is None:
            await _refuse_websocket(scope, receive, send)
            return
        assert self._target is not None
        _collapse_slashes(scope, path)
        scope["state"] = self.target_state.copy()
        await self._target(scope, receive, send)


class Answer:
    """An upstream's answer on its way to the client: marked with who gave it, and looked at for the counters."""

    __slots__ = (
        "_allow",
        "_request_id",
        "_scope",
        "_send",
        "_side",
        "_started",
        "began",
        "complete",
        "deadline",
        "status",
        "waited_s",
    )

    def __init__(
        self, scope: Scope, send: Send, side: Side, request_id: bytes, started: float, allow: frozenset[str]
    ) -> None:
        self._scope = scope
        self._send = send
        self._side = side
        self._request_id = request_id
        self._started = started
        self._allow = allow
        self.status = 0
        self.began = 0.0
        self.complete = False
        self.deadline: asyncio.Timeout | None = None
        """By when it must begin."""
        self.waited_s: float | None = None
        """How long the request waited for a thread."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = perf_counter()
            self.status = message["status"]
            if self.deadline is not None:
                self.deadline.reschedule(None)
            message["headers"] = self._headers(message.get("headers", ()))
        elif not message.get("more_body"):
            self.complete = True
        await self._send(message)

    def _headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        began, started = self.began, self._started
        called = self._scope.get(CALLED_AT) if self._side is Side.LEGACY else None
        if called is None:
            timing = b"handler;dur=%.2f" % ((began - started) * 1000)
        else:
            self.waited_s = called - started
            timing = b"queue;dur=%.2f, handler;dur=%.2f" % (self.waited_s * 1000, (began - called) * 1000)
        marked = [
            *headers,
            (b"x-served-by", _SIDE_NAMES[self._side]),
            (b"server-timing", timing),
            (REQUEST_ID_HEADER, self._request_id),
        ]
        if self._allow and (self.status == 405 or self._scope["method"] == "OPTIONS"):
            marked = list(_with_allow(marked, self._allow))
        return marked


_SIDE_NAMES = {side: side.value.encode() for side in Side}


def _with_allow(headers: Iterable[tuple[bytes, bytes]], more: frozenset[str]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"allow":
            methods = {method.strip() for method in value.decode("latin-1").split(",")} | more
            yield name, ", ".join(sorted(methods)).encode()
        else:
            yield name, value


def take_path(scope: Scope) -> str:
    """The path below `root_path`, which counts only up to a slash: `/api` is no prefix of `/apis`.

    A path that is not below it is put there, where the specification has it: a2wsgi cuts without looking for the slash.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "")
    if not root:
        return path
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    scope["path"] = root + path
    return path


def _collapse_slashes(scope: Scope, path: str) -> None:
    """Let the async app see the path as Werkzeug matched it: a mounted app looks at it once more."""
    if path.startswith("//"):
        scope["path"] = scope.get("root_path", "") + "/" + path.lstrip("/")


async def _too_late(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"detail": "the legacy app has not begun to answer in time"}, 504)(scope, receive, send)


async def _saturated(scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse(
        {"detail": "every thread for the legacy app is busy and its queue is full: try again"},
        503,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
    await response(scope, receive, send)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await PlainTextResponse("no WebSocket here\n", 404)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})
