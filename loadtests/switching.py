"""Endpoints moved to and fro under load: no request may fail, and every worker has to follow within a second."""

import argparse
import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import uvloop

from loadtests.control import Control, watch_workers
from loadtests.moving_load import FOLLOW_S, Counts, Mover, Times, create_load, learn_answers
from loadtests.outage import OUTAGE_S, Outage, run_outage
from loadtests.servers import Server, redis_url, serve_httpbin, serve_redis

STORES = ("sqlite", "redis")
MOVES, CONNECTIONS, WORKERS = 1000, 64, 2
LONG_PAUSE_EVERY = 100
LONG_PAUSE_S = FOLLOW_S + 0.1


@dataclass(frozen=True, slots=True)
class Switching:
    """Times for each change: see `Mover`."""

    store: str
    moves: int
    counts: Counts
    changes_per_s: float
    follow_s: Times
    take_effect_s: Times

    @property
    def has_passed(self) -> bool:
        return self.counts.are_good and self.follow_s.max <= FOLLOW_S

    def render(self) -> list[str]:
        return [
            f"{self.moves} moves of ten endpoints, plan in {self.store}: {'passed' if self.has_passed else 'FAILED'}",
            *self.counts.render(),
            f"{'changes/s':22}{self.changes_per_s:>12.1f}",
            self.follow_s.render("follow"),
            self.take_effect_s.render("take effect"),
        ]


def main() -> int:
    options = _parse_options()
    passed = True
    for run in _list_runs(options):
        report = uvloop.run(run)
        passed = passed and report.has_passed
        if options.json:
            print(json.dumps(asdict(report) | {"passed": report.has_passed}))
        else:
            print("\n".join([*report.render(), ""]), flush=True)
    return 0 if passed else 1


def _list_runs(options: argparse.Namespace) -> Iterator[Coroutine[Any, Any, Switching | Outage]]:
    if options.kill_redis:
        yield run_outage(options.outage, connections=options.connections, workers=options.workers)
        return
    for store in STORES if options.store == "both" else (options.store,):
        yield run_switching(store, options.moves, connections=options.connections, workers=options.workers)


async def run_switching(store: str, moves: int, *, connections: int = CONNECTIONS, workers: int = WORKERS) -> Switching:
    """Move the ten endpoints `moves` times; `store` is `sqlite` or `redis`."""
    with ExitStack() as stack:
        url = redis_url(stack.enter_context(serve_redis())) if store == "redis" else None
        gateway = stack.enter_context(serve_httpbin(workers=workers, store=url))
        return await _switch(gateway, store, moves, connections, workers)


async def _switch(gateway: Server, store: str, moves: int, connections: int, workers: int) -> Switching:
    expectation = await learn_answers(gateway.port)
    mover = Mover(Control(gateway.port), await watch_workers(gateway.port, workers), expectation)
    load = create_load(gateway.port, connections, expectation)
    load.start()
    started_at = perf_counter()
    for number in range(1, moves + 1):
        await mover.move("async" if number % 2 else "legacy", f"move {number}")
        if number % LONG_PAUSE_EVERY == 0 or number == moves:
            await asyncio.sleep(LONG_PAUSE_S)
            print(
                f"{store}: {number} of {moves} moves, {load.results.requests:,} requests", file=sys.stderr, flush=True
            )
    seconds = perf_counter() - started_at
    results = await load.stop()
    if results.problems:
        print(f"The end of the server's log:\n{gateway.read_log()}", file=sys.stderr)
    return Switching(
        store=store,
        moves=moves,
        counts=Counts.of(results),
        changes_per_s=moves / seconds,
        follow_s=Times.of(mover.follow_s),
        take_effect_s=Times.of(mover.take_effect_s),
    )


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.switching", description=__doc__)
    parser.add_argument("--store", choices=(*STORES, "both"), default="sqlite", help="default %(default)s")
    parser.add_argument("--moves", type=int, default=MOVES, help="default %(default)s")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=WORKERS, help="default %(default)s")
    parser.add_argument("--kill-redis", action="store_true", help="instead: kill Redis under load, bring it back empty")
    parser.add_argument("--outage", type=float, default=OUTAGE_S, help="for so many seconds (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
