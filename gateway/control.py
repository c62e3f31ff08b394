"""The control API: what is where, who moved it, and moving it."""

import asyncio
from datetime import datetime
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from gateway import __version__
from gateway.endpoints import Endpoint, Side
from gateway.errors import MoveRefusedError, PlanConflictError, StoreUnavailableError
from gateway.follower import PlanFollower
from gateway.metrics import GatewayMetrics, render
from gateway.moves import MovePlan, plan_moves
from gateway.plan import Change, Placement, Plan, Stage
from gateway.settings import Settings
from gateway.store import Store
from gateway.table import EndpointTable
from gateway.traffic import Traffic
from gateway.workers import WorkerBoard

bearer = HTTPBearer(auto_error=False, description="The admin token (GATEWAY_ADMIN_TOKEN).")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


class PlacementView(BaseModel):
    """A stage, with the percentage of callers if it is `canary`."""

    stage: Stage
    percent: float | None = None

    @classmethod
    def of(cls, placement: Placement) -> "PlacementView":
        return cls(stage=placement.stage, percent=placement.percent)


class UpstreamTraffic(BaseModel):
    """Requests since the server started, all its workers together."""

    requests: int
    errors: int = Field(description="Answers with a status of 500 or above, and requests without a whole answer.")
    mean_ms: float | None = Field(description="Mean time until the answer began, in milliseconds.")


class EndpointView(PlacementView):
    id: str = Field(examples=["GET /items/{id}"])
    legacy: str | None = Field(description="The rule in the Flask app; 'unknown' if its app shows no routes.")
    target: str | None = Field(description="The path in the async app.")
    traffic: dict[Side, UpstreamTraffic]


class EndpointList(BaseModel):
    plan_version: int
    endpoints: list[EndpointView]


class MoveView(BaseModel):
    endpoint: str
    before: PlacementView
    after: PlacementView


class StageRequest(BaseModel):
    """Move endpoints."""

    model_config = ConfigDict(extra="forbid")

    endpoints: list[str] = Field(
        min_length=1, description="Names or patterns.", examples=[["GET /items/{id}", "* /api/news/*"]]
    )
    stage: Stage
    percent: float | None = Field(None, description="For `canary`: more than 0, at most 100.", examples=[None])
    reason: str = Field("", max_length=1000)
    actor: str = Field("api", min_length=1, max_length=200, description="Who does it, for the history.")
    base_version: int | None = Field(
        None, description="The plan this is based on; refused if that is no longer in force.", examples=[None]
    )
    dry_run: bool = False


class StageResult(BaseModel):
    plan_version: int = Field(description="The plan in force now.")
    dry_run: bool
    moves: list[MoveView]
    unchanged: list[str] = Field(description="Endpoints that stand there already.")
    skipped: dict[str, str] = Field(description="Endpoints of a pattern that cannot go there, and why.")


class ChangeView(BaseModel):
    version: int
    at: datetime
    actor: str
    reason: str
    moves: list[MoveView]

    @classmethod
    def of(cls, change: Change) -> "ChangeView":
        return cls.model_validate(change.to_json())


class History(BaseModel):
    changes: list[ChangeView] = Field(description="Newest first.")


class PlanView(BaseModel):
    version: int
    placements: dict[str, PlacementView]


class Health(BaseModel):
    status: str = Field(description="`ok`, or `degraded`: the plan's store is away and the last known plan serves.")
    version: str
    plan_version: int
    store: str
    reason: str | None = Field(description="Why it is degraded.")
    since: datetime | None
    workers: list[dict[str, Any]]


class Problem(BaseModel):
    detail: str | list[dict[str, Any]] = Field(description="What is wrong; a list if the request has not its form.")


class Control:
    """The API's endpoints over the parts of one gateway."""

    def __init__(
        self,
        settings: Settings,
        table: EndpointTable,
        follower: PlanFollower,
        store: Store,
        traffic: Traffic,
        board: WorkerBoard,
    ) -> None:
        self._settings = settings
        self._table = table
        self._follower = follower
        self._store = store
        self._traffic = traffic
        self._board = board

    def router(self) -> APIRouter:
        """All routes under the control prefix; `health` alone needs no token ever."""
        refused: dict[int | str, dict[str, Any]] = {401: {"model": Problem}}
        changes: dict[int | str, dict[str, Any]] = {
            **refused,
            409: {"model": Problem, "description": "The plan has changed meanwhile: look, and decide again."},
            422: {"model": Problem, "description": "Refused, with the reason."},
            503: {"model": Problem, "description": "The plan's store is away."},
        }
        router = APIRouter(prefix=self._settings.control_prefix)
        # Load balancers check with HEAD, too, and FastAPI does not add it.
        router.add_api_route("/health", self.health, response_model=Health)
        router.add_api_route("/health", self.health, methods=["HEAD"], include_in_schema=False)
        reads = APIRouter(dependencies=[Depends(self._may_read)], responses=refused)
        reads.add_api_route("/endpoints", self.endpoints, response_model=EndpointList)
        reads.add_api_route("/plan", self.plan, response_model=PlanView)
        reads.add_api_route("/history", self.history, response_model=History, responses={503: {"model": Problem}})
        reads.add_api_route("/metrics", self.metrics, response_class=Response)
        router.include_router(reads)
        router.add_api_route(
            "/stage",
            self.stage,
            methods=["POST"],
            response_model=StageResult,
            responses=changes,
            dependencies=[Depends(self._may_change)],
        )
        return router

    async def health(self) -> Health:
        """Whether the gateway serves, and by which plan. Always 200: degraded is still serving."""
        follower = self._follower
        return Health(
            status="ok" if follower.degraded is None else "degraded",
            version=__version__,
            plan_version=follower.plan.version,
            store=self._store.description,
            reason=follower.degraded,
            since=follower.degraded_since,
            workers=await asyncio.to_thread(self._board.list_workers),
        )

    async def endpoints(self, match: Annotated[list[str] | None, Query()] = None) -> EndpointList:
        """What is where: each endpoint's sides, stage and traffic; `match` takes names and patterns."""
        plan = self._follower.plan
        traffic = await asyncio.to_thread(self._board.total_traffic)
        endpoints = self._named(match) if match else list(self._table.endpoints.values())
        return EndpointList(
            plan_version=plan.version, endpoints=[_endpoint_view(endpoint, plan, traffic) for endpoint in endpoints]
        )

    async def plan(self) -> PlanView:
        """The plan as it is stored: every endpoint that was ever moved."""
        plan = self._follower.plan
        placements = {name: PlacementView.of(placement) for name, placement in plan.placements.items()}
        return PlanView(version=plan.version, placements=placements)

    async def history(
        self,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only versions below this one.")] = None,
    ) -> History:
        """Who moved what, when and why, newest first."""
        try:
            changes = await self._store.list_changes(before=before, limit=limit)
        except StoreUnavailableError as exc:
            raise _unavailable(exc) from exc
        return History(changes=[ChangeView.of(change) for change in changes])

    async def metrics(self) -> Response:
        """Prometheus metrics of all workers of this server."""
        follower = self._follower
        stages = {name: ep.placement(follower.plan.placements) for name, ep in self._table.endpoints.items()}
        traffic = await asyncio.to_thread(self._board.total_traffic)
        gauges = await asyncio.to_thread(self._board.total_gauges)
        metrics = GatewayMetrics(traffic, follower.plan.version, follower.degraded is not None, stages, gauges)
        return Response(render(metrics), media_type=CONTENT_TYPE_LATEST)

    async def stage(self, request: StageRequest) -> StageResult:
        """Move endpoints, all of them or none; with `dry_run` only say what would move."""
        plan = self._follower.plan
        if request.base_version is not None and request.base_version != plan.version:
            raise HTTPException(409, f"the plan is at version {plan.version} now, not {request.base_version}")
        try:
            placement = Placement(request.stage, request.percent)
            planned = plan_moves(self._table, plan, request.endpoints, placement)
        except MoveRefusedError as exc:
            raise HTTPException(422, str(exc)) from exc
        if planned.moves and not request.dry_run:
            plan = await self._commit(plan, planned, request)
        return StageResult(
            plan_version=plan.version,
            dry_run=request.dry_run,
            moves=[MoveView.model_validate(move.to_json()) for move in planned.moves],
            unchanged=planned.unchanged,
            skipped=planned.skipped,
        )

    async def _commit(self, plan: Plan, planned: MovePlan, request: StageRequest) -> Plan:
        new, change = plan.change(tuple(planned.moves), actor=request.actor, reason=request.reason)
        try:
            await self._follower.append(new, change)
        except PlanConflictError as exc:
            raise HTTPException(409, f"someone else has changed the plan meanwhile: {exc}") from exc
        except StoreUnavailableError as exc:
            raise _unavailable(exc) from exc
        return new

    def _named(self, names: list[str]) -> list[Endpoint]:
        try:
            found = {endpoint.id: endpoint for name in names for endpoint in self._table.names.find(name)}
        except MoveRefusedError as exc:
            raise HTTPException(422, str(exc)) from exc
        return list(found.values())

    def _may_read(self, credentials: Credentials) -> None:
        if not self._settings.open_reads:
            self._may_change(credentials)

    def _may_change(self, credentials: Credentials) -> None:
        given = "" if credentials is None else credentials.credentials
        if not compare_digest(given.encode(), self._settings.token.encode()):
            raise HTTPException(
                401,
                "this needs the admin token as a bearer token: Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _unavailable(error: StoreUnavailableError) -> HTTPException:
    return HTTPException(503, f"the plan's store is away: {error}", headers={"Retry-After": "1"})


def _endpoint_view(endpoint: Endpoint, plan: Plan, traffic: Traffic) -> EndpointView:
    placement = endpoint.placement(plan.placements)
    legacy = endpoint.rule.prefix + endpoint.rule.text if endpoint.rule else "unknown" if endpoint.presumed else None
    served = {}
    for side in Side:
        series = traffic.series(endpoint.id, side)
        if series.requests:
            mean_ms = round(series.seconds / series.requests * 1000, 3)
            errors = series.statuses[4] + series.broken
            served[side] = UpstreamTraffic(requests=series.requests, errors=errors, mean_ms=mean_ms)
    return EndpointView(
        id=endpoint.id,
        stage=placement.stage,
        percent=placement.percent,
        legacy=legacy,
        target=endpoint.route.template.typed() if endpoint.route else None,
        traffic=served,
    )
