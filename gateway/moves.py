"""From what an operator asks for to the moves that a change consists of. Pure: writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.endpoints import Endpoint
from gateway.errors import MoveRefusedError
from gateway.plan import Move, Placement, Plan, Stage
from gateway.table import EndpointTable

AVAILABLE_STAGES = (Stage.LEGACY, Stage.CANARY, Stage.ASYNC)


@dataclass(slots=True)
class MovePlan:
    """What would happen: `unchanged` stand there already, `skipped` cannot go there (endpoint id and why)."""

    moves: list[Move] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def plan_moves(table: EndpointTable, plan: Plan, names: Sequence[str], placement: Placement) -> MovePlan:
    """The moves that bring the named endpoints to `placement`.

    Raises MoveRefusedError for a name that means nothing, and for one endpoint (or all of a pattern's) that cannot
    have the stage; a pattern that fits others too only skips it.
    """
    _check_available(placement.stage)
    result = MovePlan()
    for name in names:
        endpoints = table.names.find(name)
        obstacles = {endpoint.id: obstacle for endpoint in endpoints if (obstacle := _obstacle(endpoint, placement))}
        if len(obstacles) == len(endpoints):
            raise MoveRefusedError("; ".join(sorted(set(obstacles.values()))[:3]))
        result.skipped |= obstacles
        for endpoint in endpoints:
            if endpoint.id not in obstacles:
                _add(result, endpoint, plan, placement)
    return result


def _add(result: MovePlan, endpoint: Endpoint, plan: Plan, placement: Placement) -> None:
    before = endpoint.placement(plan.placements)
    known = plan.placements.get(endpoint.id, endpoint.initial)
    if before == placement == known:
        if endpoint.id not in result.unchanged:
            result.unchanged.append(endpoint.id)
    elif all(move.endpoint != endpoint.id for move in result.moves):
        result.moves.append(Move(endpoint.id, before, placement))


def _obstacle(endpoint: Endpoint, placement: Placement) -> str | None:
    wants_async = placement.stage is not Stage.LEGACY
    if wants_async and endpoint.route is None:
        return f"'{endpoint.id}' cannot be moved to '{placement.stage}': the async app has no such endpoint"
    if not endpoint.has_legacy and placement.stage is not Stage.ASYNC:
        return f"'{endpoint.id}' cannot be moved to '{placement.stage}': the legacy app has no such endpoint"
    return None


def _check_available(stage: Stage) -> None:
    if stage not in AVAILABLE_STAGES:
        available = ", ".join(stage.value for stage in AVAILABLE_STAGES)
        raise MoveRefusedError(f"the stage '{stage}' is not available in this version; there are {available}")
