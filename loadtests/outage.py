"""Redis dies under load and comes back empty; then the gateway is started again without it."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from loadtests.control import Control, Health, WorkerWatch, watch_workers
from loadtests.httpbin_requests import ask_each
from loadtests.moving_load import FOLLOW_S, Counts, Mover, Times, create_load, learn_answers
from loadtests.servers import Server, redis_url, serve_httpbin, serve_redis

OUTAGE_S = 5.0
MOVES_BEFORE, MOVES_AFTER = 7, 2
"""Together odd: the endpoints end at `async`, which is not where a gateway without a plan would have them."""
NOTICE_S = 10.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Times: from the kill, and from the return, until every worker's health said so."""

    outage_s: float
    counts: Counts
    degraded_after_ms: float
    ok_after_ms: float
    follow_s: Times
    mistakes: tuple[str, ...]
    """What else did not go as promised."""

    @property
    def has_passed(self) -> bool:
        return self.counts.are_good and not self.mistakes and self.follow_s.max <= FOLLOW_S

    def render(self) -> list[str]:
        return [
            f"Redis away for {self.outage_s:g} s and back empty: {'passed' if self.has_passed else 'FAILED'}",
            *self.counts.render(),
            f"{'degraded after ms':22}{self.degraded_after_ms:>12,.0f}",
            f"{'ok again after ms':22}{self.ok_after_ms:>12,.0f}",
            self.follow_s.render("follow"),
            *(f"    {mistake}" for mistake in self.mistakes),
        ]


async def run_outage(outage_s: float, *, connections: int, workers: int) -> Outage:
    with serve_redis() as redis, serve_httpbin(workers=workers, store=redis_url(redis)) as gateway:
        return await Scenario(redis, gateway, workers).run(outage_s, connections)


class Scenario:
    """One run of it. Goes on after a mistake, so that a report names all of them."""

    def __init__(self, redis: Server, gateway: Server, workers: int) -> None:
        self._redis = redis
        self._gateway = gateway
        self._workers = workers
        self._mistakes: list[str] = []

    async def run(self, outage_s: float, connections: int) -> Outage:
        port = self._gateway.port
        expectation = await learn_answers(port)
        watches = await watch_workers(port, self._workers)
        control = Control(port)
        mover = Mover(control, watches, expectation)
        load = create_load(port, connections, expectation)
        load.start()
        await self._move(mover, MOVES_BEFORE)
        before = await _read_plan(control)
        degraded_after_s = await self._kill_redis(control, watches, outage_s)
        ok_after_s = await self._return_redis(watches)
        self._expect("plan and history after the outage", await _read_plan(control), before)
        await self._move(mover, MOVES_AFTER)
        results = await load.stop()
        await self._restart_without_redis(control)
        return Outage(
            outage_s=outage_s,
            counts=Counts.of(results),
            degraded_after_ms=degraded_after_s * 1000,
            ok_after_ms=ok_after_s * 1000,
            follow_s=Times.of(mover.follow_s),
            mistakes=tuple(self._mistakes),
        )

    async def _move(self, mover: Mover, moves: int) -> None:
        for _ in range(moves):
            number = mover.version + 1
            await mover.move("async" if number % 2 else "legacy", f"move {number}")

    async def _kill_redis(self, control: Control, watches: Sequence[WorkerWatch], outage_s: float) -> float:
        _tell("killing Redis")
        killed_at = perf_counter()
        self._redis.kill()
        degraded_at = await _wait_for_status(watches, "degraded")
        refusal = await control.try_stage(["GET /ip"], "async", reason="while Redis is away")
        self._expect("a move during the outage", refusal.status, 503)
        await asyncio.sleep(max(0.0, killed_at + outage_s - perf_counter()))
        return degraded_at - killed_at

    async def _return_redis(self, watches: Sequence[WorkerWatch]) -> float:
        self._redis.start()
        returned_at = perf_counter()
        _tell("Redis is back, empty")
        return await _wait_for_status(watches, "ok") - returned_at

    async def _restart_without_redis(self, control: Control) -> None:
        before = await control.get("/plan")
        _tell("killing Redis, starting the gateway again without it")
        self._redis.kill()
        self._gateway.stop()
        self._gateway.start()
        await _wait_for_status(await watch_workers(self._gateway.port, self._workers), "degraded")
        self._expect("the plan after a restart without Redis", await control.get("/plan"), before)
        for endpoint, answer in (await ask_each(self._gateway.port)).items():
            self._expect(f"{endpoint} after a restart without Redis", answer.header(b"x-served-by"), b"async")

    def _expect(self, what: str, given: object, expected: object) -> None:
        if given != expected:
            self._mistakes.append(f"{what}: {given!r} instead of {expected!r}")


async def _read_plan(control: Control) -> list[object]:
    """The plan, and its history as the store has it."""
    return [await control.get("/plan"), await control.get("/history?limit=1000")]


async def _wait_for_status(watches: Sequence[WorkerWatch], status: str) -> float:
    """The time (`perf_counter`) at which the last of them had said so; ControlError if one of them does not."""

    def has_status(health: Health) -> bool:
        return bool(health["status"] == status)

    await asyncio.gather(*(watch.wait_for(has_status, status, NOTICE_S) for watch in watches))
    return perf_counter()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
