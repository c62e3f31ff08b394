"""What the gateway costs an async endpoint: the same app behind it, and alone under uvicorn."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import uvloop

from loadtests.apps import ROUTES, route_path
from loadtests.control import Control
from loadtests.http_connection import Answer, Connection
from loadtests.http_load import Problem, Request, build_request, expect_success, quantile, run_load
from loadtests.servers import Server, serve_app, serve_gateway

TARGET_RATIO = 0.95
WARM_UP_S = 1.0
CONNECTIONS = 32
APPS = {
    "routes on the app": "loadtests.apps:create_direct_app",
    "routes by include_router": "loadtests.apps:create_included_app",
}
LEGACY_APP = "loadtests.apps:create_legacy_app"
ALL_ROUTES = "all routes in turn"
MIDDLE = ROUTES // 2
TRAFFIC = {
    ALL_ROUTES: [route_path(number).format(item_id=17) for number in range(ROUTES)],
    "first route": [route_path(0)],
    "second route, with a parameter": [route_path(1).format(item_id=17)],
    "middle route": [route_path(MIDDLE)],
    "last route": [route_path(ROUTES - 1)],
}


@dataclass(frozen=True)
class Sample:
    """One server under load for some seconds."""

    requests_per_s: float
    cpu_s_per_1000: float
    p99_ms: float


@dataclass(frozen=True)
class Comparison:
    """Ratios are gateway to alone, one for each round; the rest are medians of all rounds."""

    app: str
    traffic: str
    alone: Sample
    gateway: Sample
    ratio: float
    ratio_min: float
    ratio_max: float
    cpu_ratio: float


def main() -> int:
    options = _parse_options()
    comparisons = uvloop.run(measure(rounds=options.rounds, seconds=options.seconds, connections=options.connections))
    reached = judge(comparisons).ratio >= TARGET_RATIO
    if options.json:
        print(json.dumps({"target": TARGET_RATIO, "reached": reached, "comparisons": list(map(asdict, comparisons))}))
    else:
        print("\n".join(render(comparisons)))
    return 0 if reached else 1


async def measure(*, rounds: int, seconds: float, connections: int) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for app, factory in APPS.items():
        with serve_app(factory) as alone, serve_gateway(LEGACY_APP, factory) as gateway:
            await _move_everything(gateway)
            servers = (alone, gateway)
            await _check_answers(servers)
            for server in servers:
                await _measure_one(server, TRAFFIC[ALL_ROUTES], WARM_UP_S, connections)
            pairs: dict[str, list[tuple[Sample, Sample]]] = {traffic: [] for traffic in TRAFFIC}
            for number in range(rounds):
                for traffic, paths in TRAFFIC.items():
                    pairs[traffic].append(await _measure_pair(servers, paths, seconds, connections, number))
                    _show_progress(app, traffic, number, rounds, pairs[traffic][-1])
        comparisons += [compare(app, traffic, pairs[traffic]) for traffic in TRAFFIC]
    return comparisons


def compare(app: str, traffic: str, pairs: Sequence[tuple[Sample, Sample]]) -> Comparison:
    ratios = [gateway.requests_per_s / alone.requests_per_s for alone, gateway in pairs]
    return Comparison(
        app=app,
        traffic=traffic,
        alone=_median([alone for alone, _ in pairs]),
        gateway=_median([gateway for _, gateway in pairs]),
        ratio=median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        cpu_ratio=median(gateway.cpu_s_per_1000 / alone.cpu_s_per_1000 for alone, gateway in pairs),
    )


def judge(comparisons: Sequence[Comparison]) -> Comparison:
    """The one that the target is for: the traffic over all routes, of the app that fares worse."""
    return min((each for each in comparisons if each.traffic == ALL_ROUTES), key=lambda each: each.ratio)


def render(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield f"{'':58}{'requests/s':>18}{'ratio':>24}{'CPU s per 1,000':>18}{'p99 ms':>16}"
    columns = ("alone", "gateway", "min", "median", "max", "alone", "gateway", "alone", "gateway")
    widths = (9, 9, 8, 8, 8, 9, 9, 8, 8)
    yield " " * 58 + "".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))
    for each in comparisons:
        alone, gateway = each.alone, each.gateway
        yield (
            f"{each.app + ', ' + each.traffic:58}{alone.requests_per_s:9,.0f}{gateway.requests_per_s:9,.0f}"
            f"{each.ratio_min:8.3f}{each.ratio:8.3f}{each.ratio_max:8.3f}"
            f"{alone.cpu_s_per_1000:9.3f}{gateway.cpu_s_per_1000:9.3f}{alone.p99_ms:8.1f}{gateway.p99_ms:8.1f}"
        )
    judged, worst = judge(comparisons), min(comparisons, key=lambda each: each.ratio)
    verdict = "reached" if judged.ratio >= TARGET_RATIO else "MISSED"
    yield f"target {TARGET_RATIO} {verdict}: {judged.ratio:.3f} ({judged.app}, {judged.traffic})"
    yield f"least favourable: {worst.ratio:.3f} ({worst.app}, {worst.traffic})"


async def _move_everything(gateway: Server) -> None:
    control = Control(gateway.port)
    await control.stage(["* *"], "async", reason="to be measured")
    control.close()


async def _check_answers(servers: tuple[Server, Server]) -> None:
    for path in TRAFFIC[ALL_ROUTES]:
        alone, gateway = [await _get(server, path) for server in servers]
        if (alone.status, alone.body) != (200, gateway.body) or gateway.header(b"x-served-by") != b"async":
            raise RuntimeError(f"{path}: {alone} alone, but {gateway} through the gateway")


async def _get(server: Server, path: str) -> Answer:
    connection = Connection(server.port)
    answer = await connection.exchange(build_request("GET", path).data)
    connection.close()
    return answer


async def _measure_pair(
    servers: tuple[Server, Server], paths: Sequence[str], seconds: float, connections: int, number: int
) -> tuple[Sample, Sample]:
    """Alone and through the gateway; who comes first alternates, lest a drift of the machine favour one."""
    order = servers if number % 2 == 0 else servers[::-1]
    samples = [await _measure_one(server, paths, seconds, connections) for server in order]
    first, second = samples if number % 2 == 0 else samples[::-1]
    return first, second


async def _measure_one(server: Server, paths: Sequence[str], seconds: float, connections: int) -> Sample:
    cpu_before = server.cpu_seconds()
    requests = [build_request("GET", path) for path in paths]
    results = await run_load(server.port, requests, connections=connections, seconds=seconds, check=_fail)
    return Sample(
        requests_per_s=results.requests_per_s,
        cpu_s_per_1000=(server.cpu_seconds() - cpu_before) / results.requests * 1000,
        p99_ms=quantile(results.latencies, 0.99) * 1000,
    )


def _fail(request: Request, answer: Answer) -> Problem | None:
    problem = expect_success(request, answer)
    if problem is not None:
        raise RuntimeError(f"{problem.request}: {problem.detail}")
    return None


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        requests_per_s=median(sample.requests_per_s for sample in samples),
        cpu_s_per_1000=median(sample.cpu_s_per_1000 for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
    )


def _show_progress(app: str, traffic: str, number: int, rounds: int, pair: tuple[Sample, Sample]) -> None:
    alone, gateway = (sample.requests_per_s for sample in pair)
    text = f"round {number + 1}/{rounds}  {app}, {traffic}: {alone:,.0f}/s alone, {gateway:,.0f}/s through the gateway"
    print(f"{text}, ratio {gateway / alone:.3f}", file=sys.stderr, flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for how long each time (default %(default)s)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
