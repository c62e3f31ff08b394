"""The gateway as one ASGI application: a FastAPI app that is the control API and holds both sides."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.adapters import portal
from gateway.bridge import Bridge
from gateway.control import Control
from gateway.dispatcher import Dispatcher, take_path
from gateway.edge import ControlCharacterGuard, Edge
from gateway.endpoints import Endpoint
from gateway.errors import RouteConflictError, SettingsError
from gateway.follower import PlanFollower
from gateway.lifespan import AppLifespan
from gateway.loop_lag import LoopLagMonitor
from gateway.request_ids import RequestIds
from gateway.settings import Settings
from gateway.sqlite_store import SqliteStore
from gateway.stock_bridge import StockBridge
from gateway.store import Store
from gateway.stores import open_store
from gateway.table import EndpointTable, build_table
from gateway.traffic import Traffic
from gateway.workers import WorkerBoard

logger = logging.getLogger("gateway")


class Gateway(FastAPI):
    """Its own routes are the control API; everything else goes to the dispatcher, which is mounted at `/`."""

    def __init__(
        self,
        settings: Settings,
        *,
        legacy: Callable[..., Any] | None = None,
        target: ASGIApp | None = None,
        runtime_dir: Path | None = None,
        on_started: Callable[["Gateway"], None] = lambda gateway: None,
    ) -> None:
        """`legacy` (WSGI) and `target` (ASGI): the two sides, one of which may be absent. Opens nothing yet.

        `runtime_dir` is where the workers of one server meet; `on_started` is called when everything is up.
        Raises SettingsError, and RouteConflictError for paths that one side would silently take from the other.
        """
        if legacy is None and target is None:
            raise SettingsError("there is nothing to serve: name an app with --legacy, --target or both")
        super().__init__(
            title="Strangler gateway",
            version=__version__,
            openapi_url=f"{settings.control_prefix}/openapi.json",
            docs_url=None,
            redoc_url=None,
            lifespan=self._run,
            redirect_slashes=False,
        )
        self.settings = settings
        self._control_paths = f"{settings.control_prefix}/"
        self._on_started = on_started
        self.table = build_table(legacy, target, declared_overlaps=settings.overlaps, docs=settings.target_docs)
        _check_prefix(self.table, settings.control_prefix)
        self.traffic = Traffic()
        self.store = open_store(settings.store)
        self._copy = SqliteStore(copy_path(settings, self.store))
        self.follower = PlanFollower(self.store, self._copy)
        # Beside Flask, only what Werkzeug has matched reaches the async app; alone, its own patterns decide.
        self._target = ControlCharacterGuard(target) if target is not None and legacy is None else target
        self._bridge = _bridge(settings, legacy) if legacy is not None else None
        self.board = WorkerBoard(runtime_dir, self.traffic, self.follower, self._gauges)
        self.dispatcher = Dispatcher(
            self.table,
            legacy=self._bridge,
            target=self._target,
            traffic=self.traffic,
            request_ids=RequestIds(settings.trusted_proxies),
            caller_keys=settings.caller_keys,
            token=settings.token,
            limits_s=_time_limits(self.table, settings),
            default_limit_s=settings.legacy_time_limit_s,
        )
        self._loop_lag = LoopLagMonitor(settings.loop_lag_s)
        self._edge = Edge(
            self._serve,
            trusted_proxies=settings.trusted_proxies,
            client_address_from_proxy=settings.client_address_from_proxy,
            unique_headers=settings.unique_headers,
            unique_cookies=settings.unique_cookies,
            limit_request_line=settings.limit_request_line,
            limit_request_fields=settings.limit_request_fields,
            limit_request_field_size=settings.limit_request_field_size,
        )
        control = Control(settings, self.table, self.follower, self.store, self.traffic, self.board)
        self.include_router(control.router())
        self.mount(settings.control_prefix, _unknown_control_path)
        self.mount("/", self.dispatcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Straight to what is mounted at `/`: Starlette's middleware and router would find the same, for a fifth of
        # the whole request's time, and would stumble over paths that its patterns cannot match.
        if scope["type"] == "lifespan" or self._is_control(take_path(scope)):
            await super().__call__(scope, receive, send)
        else:
            await self.dispatcher(scope, receive, send)

    def _is_control(self, path: str) -> bool:
        return path.startswith(self._control_paths)

    def _gauges(self) -> dict[str, float]:
        gauges: dict[str, float] = {"gateway_loop_blocked": self._loop_lag.blocked_count}
        if self._bridge is None:
            return gauges
        return gauges | {
            "gateway_legacy_threads": self.settings.legacy_threads,
            "gateway_legacy_busy_threads": self._bridge.busy,
            "gateway_legacy_waiting_requests": self._bridge.waiting,
        }

    @asynccontextmanager
    async def _run(self, app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self._copy.close)
            if self._bridge is not None:
                stack.callback(self._bridge.close)
            stack.enter_context(portal.use_loop(asyncio.get_running_loop()))
            self._loop_lag.start()
            stack.callback(self._loop_lag.stop)
            await self.follower.start()
            stack.push_async_callback(self.follower.stop)
            self.dispatcher.use_plan(self.follower.plan)
            self.follower.subscribe(self.dispatcher.use_plan)
            if self._target is not None:
                lifespan = await stack.enter_async_context(AppLifespan(self._target))
                self.dispatcher.target_state = lifespan.state
            await self.board.start()
            stack.push_async_callback(self.board.stop)
            self._on_started(self)
            yield


def copy_path(settings: Settings, store: Store) -> Path:
    """Where this machine copies the plan of this store: another store must not be given its plan."""
    digest = blake2b(store.description.encode(), digest_size=4).hexdigest()
    return settings.state_dir / f"plan-copy-{digest}.db"


def _time_limits(table: EndpointTable, settings: Settings) -> dict[Endpoint | None, float]:
    limits: dict[Endpoint | None, float] = {}
    for name, limit_s in settings.time_limits.items():
        for endpoint in table.names.find(name):
            limits.setdefault(endpoint, limit_s)
    return limits


def _bridge(settings: Settings, app: Callable[..., Any]) -> Bridge | StockBridge:
    if settings.bridge == "a2wsgi":
        return StockBridge(app, threads=settings.legacy_threads, queue=settings.legacy_queue)
    return Bridge(
        app,
        threads=settings.legacy_threads,
        queue=settings.legacy_queue,
        multiprocess=settings.workers > 1,
        server_software=settings.server_software,
    )


async def _unknown_control_path(scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse({"detail": "the control API has no such path: its openapi.json lists what there is"}, 404)
    await response(scope, receive, send)


def _check_prefix(table: EndpointTable, prefix: str) -> None:
    inside = [
        endpoint.id
        for endpoint in table.endpoints.values()
        if f"{''.join(map(str, endpoint.template.parts))}/".startswith(f"{prefix}/")
    ]
    if inside:
        raise RouteConflictError(
            [f"the control API would hide '{name}': move it with GATEWAY_CONTROL_PREFIX" for name in inside]
        )
