"""What it costs a view to run a coroutine: on a loop made for it, on a loop kept per thread, or on the portal's."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

from gateway.adapters import portal

Way = Callable[[], object]
BASE = "portal.run"


@dataclass(frozen=True)
class Result:
    """Medians of all rounds. `ratio_*`: to what the portal took in the same round."""

    way: str
    us: float
    ratio: float
    ratio_min: float
    ratio_max: float


def main() -> int:
    options = _parse_options()
    with ThreadPoolExecutor(1) as executor:  # as a view has it: not the main thread
        results = executor.submit(measure, options.rounds, options.calls).result()
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print("\n".join(render(results)))
    return 0


def measure(rounds: int, calls: int) -> list[Result]:
    """The ways in turn, `calls` of each in every round."""
    loop = asyncio.new_event_loop()
    ways: dict[str, Way] = {
        "asyncio.run, a new loop each time": lambda: asyncio.run(work()),
        "loop.run_until_complete, a loop per thread": lambda: loop.run_until_complete(work()),
        "asyncio.run_coroutine_threadsafe": lambda: asyncio.run_coroutine_threadsafe(work(), running).result(),
        BASE: lambda: portal.run(work()),
    }
    running = portal.run(find_loop())
    rows: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = time_calls(way, calls)
            if number:  # the first round warms up
                rows[name].append(seconds / calls * 1e6)
        _show_progress(number, rounds)
    loop.close()
    return [compare(name, rows[name], rows[BASE]) for name in ways]


def compare(name: str, us: list[float], base: list[float]) -> Result:
    ratios = [each / portal_us for each, portal_us in zip(us, base, strict=True)]
    return Result(name, median(us), median(ratios), min(ratios), max(ratios))


def render(results: list[Result]) -> Iterator[str]:
    yield f"{'':46}{'µs per call':>12}{'to portal.run':>20}{'min':>8}{'max':>8}"
    for each in results:
        yield f"{each.way:46}{each.us:12.1f}{each.ratio:20.2f}{each.ratio_min:8.2f}{each.ratio_max:8.2f}"


async def work() -> int:
    """One trip through the loop, as the shortest query makes."""
    await asyncio.sleep(0)
    return 1


async def find_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def time_calls(way: Way, calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        way()
    return perf_counter() - started


def _show_progress(number: int, rounds: int) -> None:
    print(f"round {number}/{rounds}" if number else "warmed up", file=sys.stderr, flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.portal", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="how often each is measured (default %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="calls each time (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
