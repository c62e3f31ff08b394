"""Whether async endpoints stay as quick while every legacy thread is taken and the queue before them is full."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median

import uvloop

from loadtests.http_connection import Answer, Connection
from loadtests.http_load import Problem, Request, build_request, expect_success, quantile, run_load
from loadtests.servers import Server, serve_gateway

LEGACY_APP = "loadtests.isolation_apps:create_legacy_app"
TARGET_APP = "loadtests.isolation_apps:create_target_app"
TARGET_RATIO = 1.5
# The gateway's defaults.
THREADS, QUEUE = 40, 400
WARM_UP_S = 1.0
FILL_TIMEOUT_S = 10.0
REFUSED, COME_BACK_S = 8, 0.25
ITEM = build_request("GET", "/async/item")
HANG = build_request("GET", "/legacy/hang")
NAP = build_request("GET", "/legacy/nap")
KINDS = {"hang until they are released": HANG, "sleep for 0.1 to 0.4 s": NAP}


@dataclass(frozen=True)
class Sample:
    """The async endpoint under load for some seconds."""

    p50_ms: float
    p99_ms: float
    requests_per_s: float


@dataclass(frozen=True)
class Comparison:
    """Medians of all rounds; ratios are busy to idle p99, one for each round."""

    kind: str
    idle: Sample
    busy: Sample
    ratio: float
    ratio_min: float
    ratio_max: float

    @property
    def has_passed(self) -> bool:
        return self.ratio <= TARGET_RATIO


def main() -> int:
    options = _parse_options()
    comparisons = uvloop.run(measure(rounds=options.rounds, seconds=options.seconds, connections=options.connections))
    passed = all(comparison.has_passed for comparison in comparisons)
    if options.json:
        print(json.dumps({"target": TARGET_RATIO, "has_passed": passed, "comparisons": list(map(asdict, comparisons))}))
    else:
        print("\n".join(render(comparisons)))
    return 0 if passed else 1


async def measure(*, rounds: int, seconds: float, connections: int) -> list[Comparison]:
    samples: dict[str, list[tuple[Sample, Sample]]] = {kind: [] for kind in KINDS}
    with serve_gateway(LEGACY_APP, TARGET_APP) as server:
        await measure_async(server, WARM_UP_S, connections)
        for number in range(rounds):
            for kind, request in KINDS.items():
                idle = await measure_async(server, seconds, connections)
                async with saturated(server, request):
                    busy = await measure_async(server, seconds, connections)
                samples[kind].append((idle, busy))
                _show_progress(kind, number, rounds, samples[kind][-1])
    return [compare(kind, pairs) for kind, pairs in samples.items()]


async def measure_async(server: Server, seconds: float, connections: int) -> Sample:
    results = await run_load(server.port, [ITEM], connections=connections, seconds=seconds, check=_fail)
    return Sample(
        p50_ms=quantile(results.latencies, 0.5) * 1000,
        p99_ms=quantile(results.latencies, 0.99) * 1000,
        requests_per_s=results.requests_per_s,
    )


@asynccontextmanager
async def saturated(server: Server, request: Request) -> AsyncIterator[None]:
    """Every legacy thread runs a request, as many more wait as may, and a few are refused all the time."""
    await _release(server, False)
    crowd = Crowd(server, request)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(THREADS + QUEUE + REFUSED):
            tasks.create_task(crowd.join())
        await crowd.wait_until_full()
        yield
        await crowd.wait_until_full()
        crowd.is_leaving = True
        await _release(server, True)


class Crowd:
    """Clients of the legacy side. Who is refused comes back a little later."""

    def __init__(self, server: Server, request: Request) -> None:
        self.is_leaving = False
        self._server = server
        self._request = request
        self._refused = asyncio.Event()

    async def join(self) -> None:
        connection = Connection(self._server.port)
        while not self.is_leaving:
            answer = await connection.exchange(self._request.data)
            if answer.status == 503:
                self._refused.set()
                await asyncio.sleep(COME_BACK_S)
            elif answer.status != 200:
                raise RuntimeError(f"{self._request.name}: status {answer.status}: {answer.body[:200]!r}")
        connection.close()

    async def wait_until_full(self) -> None:
        self._refused.clear()
        async with asyncio.timeout(FILL_TIMEOUT_S):
            await self._refused.wait()


def compare(kind: str, pairs: Sequence[tuple[Sample, Sample]]) -> Comparison:
    ratios = [busy.p99_ms / idle.p99_ms for idle, busy in pairs]
    idle, busy = ([pair[place] for pair in pairs] for place in (0, 1))
    return Comparison(kind, _median(idle), _median(busy), median(ratios), min(ratios), max(ratios))


def render(comparisons: Sequence[Comparison]) -> Iterator[str]:
    pair = f"{'idle':>9}{'busy':>9}"
    yield f"{'':32}{'p50 ms':>18}{'p99 ms':>18}{'requests/s':>18}{'p99 ratio':>24}"
    yield f"{'all legacy views':32}{pair * 3}{'min':>10}{'median':>8}{'max':>8}"
    for each in comparisons:
        idle, busy = each.idle, each.busy
        verdict = f"{'ok' if each.has_passed else 'MISSED'}: {TARGET_RATIO:g} at most"
        yield (
            f"{each.kind:32}{idle.p50_ms:9.2f}{busy.p50_ms:9.2f}{idle.p99_ms:9.2f}{busy.p99_ms:9.2f}"
            f"{idle.requests_per_s:9,.0f}{busy.requests_per_s:9,.0f}"
            f"{each.ratio_min:10.2f}{each.ratio:8.2f}{each.ratio_max:8.2f}  {verdict}"
        )


async def _release(server: Server, value: bool) -> None:
    connection = Connection(server.port)
    answer = await connection.exchange(build_request("PUT", f"/async/released/{str(value).lower()}").data)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {answer.body!r}")


def _fail(request: Request, answer: Answer) -> Problem | None:
    problem = expect_success(request, answer)
    if problem is not None:
        raise RuntimeError(f"{problem.request}: {problem.detail}")
    return None


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        requests_per_s=median(sample.requests_per_s for sample in samples),
    )


def _show_progress(kind: str, number: int, rounds: int, pair: tuple[Sample, Sample]) -> None:
    idle, busy = pair
    text = f"round {number + 1}/{rounds}  {kind}: p99 {idle.p99_ms:.2f} ms idle, {busy.p99_ms:.2f} ms busy"
    print(f"{text}, ratio {busy.p99_ms / idle.p99_ms:.2f}", file=sys.stderr, flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for how long each time (default %(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="of the async load (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
