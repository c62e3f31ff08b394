"""A closed-loop load: each connection sends its next request as soon as it has the answer to its last one."""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil
from time import perf_counter
from typing import Literal

from loadtests.http_connection import HOST, Answer, Connection, ExchangeError

Kind = Literal["failed", "wrong", "late"]
REMEMBERED_PROBLEMS = 10
LAST_ANSWERS_S = 10.0
"""How long the last requests may take once the load is to stop."""
PAUSE_S = 0.01
"""After a failure, so that a server which is away is not asked ten thousand times a second."""


@dataclass(frozen=True, slots=True)
class Request:
    """`data`: what goes over the wire."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """`failed`: no whole answer, or one with a server error. What else there is, a check says."""

    kind: Kind
    request: str
    detail: str


Check = Callable[[Request, Answer], Problem | None]


@dataclass(slots=True)
class Results:
    """Latencies in seconds, of whole answers only. Of the problems the first few are kept."""

    requests: int = 0
    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    problems: Counter[Kind] = field(default_factory=Counter)
    first_problems: list[Problem] = field(default_factory=list)

    @property
    def requests_per_s(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def add(self, problem: Problem) -> None:
        self.problems[problem.kind] += 1
        if len(self.first_problems) < REMEMBERED_PROBLEMS:
            self.first_problems.append(problem)


def build_request(
    method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, name: str = ""
) -> Request:
    """`target` as it stands in the request line; Host and Content-Length are added."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", *(f"{key}: {value}" for key, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return Request(name or f"{method} {target}", "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def expect_success(request: Request, answer: Answer) -> Problem | None:
    if answer.status >= 500:
        return Problem("failed", request.name, f"status {answer.status}: {answer.body[:200]!r}")
    if not 200 <= answer.status < 300:
        return Problem("wrong", request.name, f"status {answer.status}: {answer.body[:200]!r}")
    return None


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered)) - 1, 0)] if ordered else float("nan")


class Load:
    """A load on a port of this machine from `start` to `stop`; every connection goes round all requests."""

    def __init__(
        self, port: int, requests: Sequence[Request], *, connections: int, check: Check = expect_success
    ) -> None:
        self.results = Results()
        self._port = port
        self._requests = requests
        self._connections = connections
        self._check = check
        self._is_stopping = False
        self._started_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._started_at = perf_counter()
        self._tasks = [asyncio.create_task(self._drive(number)) for number in range(self._connections)]

    async def stop(self) -> Results:
        """Let every connection have its last answer. Raises what `check` raised."""
        self._is_stopping = True
        done, pending = await asyncio.wait(self._tasks, timeout=LAST_ANSWERS_S)
        self.results.seconds = perf_counter() - self._started_at
        for task in pending:
            task.cancel()
            self.results.add(Problem("failed", task.get_name(), f"no answer within {LAST_ANSWERS_S:g} s of the end"))
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        return self.results

    async def _drive(self, number: int) -> None:
        connection = Connection(self._port)
        try:
            # Each begins at another request, so that all are under load at any time
            for request in islice(cycle(self._requests), number % len(self._requests), None):
                if self._is_stopping:
                    return
                await self._send(connection, request)
        finally:
            connection.close()

    async def _send(self, connection: Connection, request: Request) -> None:
        self.results.requests += 1
        try:
            answer = await connection.exchange(request.data)
        except ExchangeError as error:
            self.results.add(Problem("failed", request.name, str(error)))
            await asyncio.sleep(PAUSE_S)
            return
        self.results.latencies.append(answer.latency_s)
        problem = self._check(request, answer)
        if problem is not None:
            self.results.add(problem)


async def run_load(
    port: int, requests: Sequence[Request], *, connections: int, seconds: float, check: Check = expect_success
) -> Results:
    load = Load(port, requests, connections=connections, check=check)
    load.start()
    await asyncio.sleep(seconds)
    return await load.stop()
