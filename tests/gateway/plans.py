"""Plans, histories and waiting, for the tests of what keeps them."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.plan import Change, Move, Placement, Plan, Stage

LEGACY = Placement(Stage.LEGACY)
ASYNC = Placement(Stage.ASYNC)


def move(plan: Plan, endpoint: str = "GET /news", reason: str = "a test") -> tuple[Plan, Change]:
    at = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    return plan.change((Move(endpoint, LEGACY, ASYNC),), actor="tester", reason=reason, at=at)


def make_history(length: int, plan: Plan | None = None) -> tuple[Plan, list[Change]]:
    """`length` changes, oldest first, from `plan` (or the empty plan) on, and the plan that they make."""
    plan = plan or Plan()
    changes = []
    for _ in range(length):
        plan, change = move(plan, f"GET /news/{plan.version + 1}")
        changes.append(change)
    return plan, changes


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> float:
    """Returns after how many seconds `condition` held."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.005)
    return time.perf_counter() - began
