"""What a Flask app is worth behind the gateway: against gunicorn's threads, and against stock a2wsgi under uvicorn."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter, process_time

import uvloop

from loadtests.bridge_app import BODY, CHUNK, CHUNKS, FILE_VARIABLE
from loadtests.downloads import run_downloads
from loadtests.http_connection import Answer
from loadtests.http_load import Problem, Request, Results, build_request, run_load
from loadtests.servers import HOST, TOKEN, Server, answers_http, serve_app

APP = "loadtests.bridge_app:app"
STOCK_APP = "loadtests.bridge_app:create_stock_app"
THREADS = 40
WARM_UP_S = 0.5
FILE_BYTES = 64 * 1024 * 1024
UPLOAD_BYTES = 8 * 1024 * 1024
JSON = build_request("GET", "/json")
LARGE = build_request("GET", "/body")
STREAM = build_request("GET", "/chunks")
FILE = build_request("GET", "/file")
UPLOAD = build_request("POST", "/upload", [("Content-Type", "application/octet-stream")], b"u" * UPLOAD_BYTES)
EXPECTED_BYTES = {LARGE.name: len(BODY), STREAM.name: CHUNKS * len(CHUNK)}
# Where the load itself is this busy the ratios come out too close to 1.
BUSY_CLIENT = 0.9
SERVERS = ("gunicorn", "stock", "gateway")


@dataclass(frozen=True)
class Row:
    """One kind of request, over so many connections. `over_*`: what the gateway promises against the others."""

    name: str
    request: Request
    connections: int
    payload_bytes: int
    """Of the body that is worth counting: its rate is in MB/s then. 0: in requests/s."""
    over_gunicorn: float = 0.8
    over_stock: float | None = None
    stock_rounds: int | None = None
    """How often stock a2wsgi is measured where one answer takes it seconds. None: always."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.connections} connection{'s' if self.connections > 1 else ''}"

    @property
    def unit(self) -> str:
        return "MB/s" if self.payload_bytes else "requests/s"


@dataclass(frozen=True)
class Sample:
    """One server under load for some seconds. `rate` in the row's unit."""

    rate: float
    cpu_ms: float
    """Of the server's processes, for one request."""
    client_share: float
    """How much of a core the load itself took."""


@dataclass(frozen=True)
class Ratio:
    """The gateway's rate to another server's, one for each round."""

    median: float
    min: float
    max: float

    def __str__(self) -> str:
        return f"{self.min:6.2f} {self.median:6.2f} {self.max:6.2f}"


@dataclass(frozen=True)
class Comparison:
    """Medians of all rounds."""

    row: str
    unit: str
    samples: dict[str, Sample]
    to_gunicorn: Ratio
    to_stock: Ratio | None
    over_gunicorn: float
    over_stock: float | None

    @property
    def has_passed(self) -> bool:
        beats_stock = self.over_stock is None or (self.to_stock is not None and self.to_stock.median >= self.over_stock)
        return self.to_gunicorn.median >= self.over_gunicorn and beats_stock

    @property
    def verdict(self) -> str:
        stock = "" if self.over_stock is None else f", {self.over_stock:g} of stock"
        return f"{'ok' if self.has_passed else 'MISSED'}: {self.over_gunicorn:g} of gunicorn{stock}"


def build_rows() -> list[Row]:
    return [
        Row("small JSON", JSON, 1, 0),
        Row("small JSON", JSON, 16, 0, over_gunicorn=1.5, over_stock=2.2),
        Row("small JSON", JSON, 64, 0),
        *(Row("100 kB", LARGE, connections, 0) for connections in (1, 16, 64)),
        Row(f"{CHUNKS:,} chunks of {len(CHUNK)} bytes", STREAM, 1, 0, stock_rounds=1),
        Row(f"{CHUNKS:,} chunks of {len(CHUNK)} bytes", STREAM, 16, 0, stock_rounds=0),
        Row("64 MB file", FILE, 1, FILE_BYTES, stock_rounds=1),
        Row("64 MB file", FILE, 16, FILE_BYTES, stock_rounds=0),
        *(Row("8 MB upload", UPLOAD, connections, UPLOAD_BYTES) for connections in (1, 16)),
    ]


def main() -> int:
    options = _parse_options()
    rows = [row for row in build_rows() if options.only in row.title]
    comparisons = uvloop.run(measure(rows, rounds=options.rounds, seconds=options.seconds))
    passed = all(comparison.has_passed for comparison in comparisons)
    if options.json:
        documents = [{**asdict(each), "has_passed": each.has_passed} for each in comparisons]
        print(json.dumps({"has_passed": passed, "comparisons": documents}))
    else:
        print("\n".join(render(comparisons)))
    return 0 if passed else 1


async def measure(rows: Sequence[Row], *, rounds: int, seconds: float) -> list[Comparison]:
    samples: dict[Row, list[dict[str, Sample]]] = {row: [] for row in rows}
    with ExitStack() as stack:
        stack.enter_context(file_to_send())
        servers = {name: stack.enter_context(server) for name, server in build_servers().items()}
        for row in rows:
            for name in servers:
                if name != "stock" or row.stock_rounds is None:
                    await _measure_one(servers[name], row, WARM_UP_S)
        for number in range(rounds):
            for row in rows:
                order = list_servers(row, number)
                samples[row].append({name: await _measure_one(servers[name], row, seconds) for name in order})
                _show_progress(row, number, rounds, samples[row][-1])
    return [compare(row, rounds_of_row) for row, rounds_of_row in samples.items()]


def list_servers(row: Row, number: int) -> list[str]:
    """Those that a round measures. Who comes first alternates, lest a drift of the machine favour one."""
    first = number % len(SERVERS)
    has_stock = row.stock_rounds is None or number < row.stock_rounds
    return [name for name in (*SERVERS[first:], *SERVERS[:first]) if name != "stock" or has_stock]


@contextmanager
def file_to_send() -> Iterator[None]:
    with tempfile.NamedTemporaryFile(prefix="loadtests-") as file:
        file.write(bytes(range(256)) * (FILE_BYTES // 256))
        file.flush()
        os.environ[FILE_VARIABLE] = file.name  # which the servers inherit
        yield


def build_servers() -> dict[str, Server]:
    """The same app in one process each."""

    def gunicorn(port: int) -> list[str]:
        threads = ["-k", "gthread", "-w", "1", "--threads", str(THREADS), "--keep-alive", "75", "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *threads, "-b", f"{HOST}:{port}", APP]

    def gateway(port: int) -> list[str]:
        return [sys.executable, "-m", "gateway", "serve", "--legacy", APP, "--host", HOST, "--port", str(port)]

    return {
        "gunicorn": Server(gunicorn, answers_http),
        "stock": serve_app(STOCK_APP),
        "gateway": Server(gateway, answers_http, {"GATEWAY_ADMIN_TOKEN": TOKEN}),
    }


def compare(row: Row, rounds: Sequence[Mapping[str, Sample]]) -> Comparison:
    samples = {name: [each[name] for each in rounds if name in each] for name in SERVERS}
    ratios = {
        name: [each["gateway"].rate / each[name].rate for each in rounds if name in each]
        for name in ("gunicorn", "stock")
    }
    return Comparison(
        row=row.title,
        unit=row.unit,
        samples={name: _median(samples[name]) for name in SERVERS if samples[name]},
        to_gunicorn=_ratio(ratios["gunicorn"]),
        to_stock=_ratio(ratios["stock"]) if ratios["stock"] else None,
        over_gunicorn=row.over_gunicorn,
        over_stock=row.over_stock,
    )


def render(comparisons: Sequence[Comparison]) -> Iterator[str]:
    names = "".join(f"{name:>10}" for name in SERVERS)
    spread = "   min median    max"
    yield f"{'':46}{'rate':>30}{'':12}{'CPU ms per request':>30}   {'to gunicorn':>20}   {'to stock':>20}"
    yield f"{'':46}{names}{'':12}{names}   {spread}   {spread}"
    for each in comparisons:
        samples = [each.samples.get(name) for name in SERVERS]
        rates = "".join(f"{sample.rate:10,.1f}" if sample else f"{'':10}" for sample in samples)
        cpu = "".join(f"{sample.cpu_ms:10,.2f}" if sample else f"{'':10}" for sample in samples)
        ratios = "   ".join(str(ratio or "").rjust(len(spread)) for ratio in (each.to_gunicorn, each.to_stock))
        yield f"{each.row:46}{rates}  {each.unit:10}{cpu}   {ratios}   {each.verdict}"
        if max(sample.client_share for sample in each.samples.values()) > BUSY_CLIENT:
            yield f"{'':46}the load itself was busy here: the true ratios are further from 1"


async def _measure_one(server: Server, row: Row, seconds: float) -> Sample:
    cpu_before, own_before, started = server.cpu_seconds(), process_time(), perf_counter()
    results = await _load(server, row, seconds)
    return Sample(
        rate=len(results.latencies) / results.seconds * (row.payload_bytes / 1e6 or 1),
        cpu_ms=(server.cpu_seconds() - cpu_before) / results.requests * 1000,
        client_share=(process_time() - own_before) / (perf_counter() - started),
    )


async def _load(server: Server, row: Row, seconds: float) -> Results:
    if row.request.name == FILE.name:
        return await run_downloads(
            server.port, row.request, connections=row.connections, seconds=seconds, body_bytes=FILE_BYTES
        )
    return await run_load(
        server.port, [row.request], connections=row.connections, seconds=seconds, check=_fail_unless_whole
    )


def _fail_unless_whole(request: Request, answer: Answer) -> Problem | None:
    if answer.status != 200 or len(answer.body) != EXPECTED_BYTES.get(request.name, len(answer.body)):
        raise RuntimeError(f"{request.name}: status {answer.status}, {len(answer.body)} bytes: {answer.body[:200]!r}")
    return None


def _ratio(ratios: Sequence[float]) -> Ratio:
    return Ratio(median(ratios), min(ratios), max(ratios))


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        rate=median(sample.rate for sample in samples),
        cpu_ms=median(sample.cpu_ms for sample in samples),
        client_share=median(sample.client_share for sample in samples),
    )


def _show_progress(row: Row, number: int, rounds: int, samples: Mapping[str, Sample]) -> None:
    rates = ", ".join(f"{name} {samples[name].rate:,.1f}" for name in SERVERS if name in samples)
    print(f"round {number + 1}/{rounds}  {row.title}: {rates} {row.unit}", file=sys.stderr, flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bridge", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.6, help="for how long each time (default %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows that have this in their name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
