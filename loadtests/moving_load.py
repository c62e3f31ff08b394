"""A load on the ten endpoints whose every answer is checked, while the endpoints move from side to side."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import perf_counter, time

from loadtests.control import Control, ControlError, WorkerWatch
from loadtests.http_connection import Answer
from loadtests.http_load import Load, Problem, Request, Results, quantile
from loadtests.httpbin_requests import ENDPOINTS, Expected, ask_each, name_requests

FOLLOW_S = 1.0
"""The design's bound: within it every worker follows a change."""
GIVE_UP_S = 10 * FOLLOW_S
PAUSE_S = 0.05
"""After each change, so that there are requests which only its side may answer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`failed`: no whole answer, or a server error; `wrong`: another answer than the legacy side's; `late`: from the
    side that an endpoint had left, to a request sent after every worker had followed (or `FOLLOW_S` after the move).
    """

    requests: int
    failed: int
    wrong: int
    late: int
    requests_per_s: float
    p99_ms: float
    first_problems: tuple[str, ...]

    @classmethod
    def of(cls, results: Results) -> "Counts":
        return cls(
            requests=results.requests,
            failed=results.problems["failed"],
            wrong=results.problems["wrong"],
            late=results.problems["late"],
            requests_per_s=results.requests_per_s,
            p99_ms=quantile(results.latencies, 0.99) * 1000,
            first_problems=tuple(f"{each.kind}: {each.request}: {each.detail}" for each in results.first_problems),
        )

    @property
    def are_good(self) -> bool:
        return not (self.failed or self.wrong or self.late)

    def render(self) -> list[str]:
        counts = [("requests", self.requests), ("failed", self.failed), ("wrong", self.wrong), ("late", self.late)]
        lines = [f"{name:22}{count:>12,}" for name, count in counts]
        lines += [f"{'requests/s':22}{self.requests_per_s:>12,.0f}", f"{'p99 ms':22}{self.p99_ms:>12,.1f}"]
        return lines + [f"    {problem}" for problem in self.first_problems]


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        return cls(quantile(seconds, 0.5), quantile(seconds, 0.99), max(seconds))

    def render(self, name: str) -> str:
        return f"{name:16}{self.p50 * 1000:8,.0f} /{self.p99 * 1000:6,.0f} /{self.max * 1000:6,.0f} ms (p50, p99, max)"


class Expectation:
    """What each endpoint has to answer, and which side has to answer since when."""

    def __init__(self, answers: Mapping[str, Expected], side: str, *, since: float) -> None:
        """`since`, as all times here, by `time.perf_counter`."""
        self._answers = answers
        self._side = side
        self._since = since

    def begin_change(self) -> None:
        """From now on either side may answer."""
        self._since = inf

    def end_change(self, side: str, since: float) -> None:
        """Requests sent after `since` must be answered by `side`; of several such times the earliest counts."""
        self._side = side
        self._since = min(self._since, since)

    def check(self, request: Request, answer: Answer) -> Problem | None:
        expected = self._answers[request.name]
        difference = expected.find_difference(answer)
        if difference is not None:
            return Problem("failed" if answer.status >= 500 else "wrong", request.name, difference)
        side = (answer.header(b"x-served-by") or b"nobody").decode()
        if side not in ("legacy", "async"):
            return Problem("wrong", request.name, f"served by {side}")
        if side != self._side and answer.sent_at > self._since:
            late_ms = (answer.sent_at - self._since) * 1000
            detail = f"sent to {side} {late_ms:.1f} ms after {self._side} had taken over"
            return Problem("late", request.name, detail)
        return None


class Mover:
    """The operator: moves all ten endpoints at once, and waits for every worker to follow."""

    def __init__(self, control: Control, watches: Sequence[WorkerWatch], expectation: Expectation) -> None:
        self.version = 0
        self.follow_s: list[float] = []
        """For each change, from its acknowledgement until the last worker followed; 0 if that came first."""
        self.take_effect_s: list[float] = []
        """The same from just before the change was sent."""
        self._control = control
        self._watches = watches
        self._expectation = expectation

    async def move(self, stage: str, reason: str) -> None:
        """Raises ControlError if it is refused, or if a worker has not followed for many times the bound."""
        expectation = self._expectation
        expectation.begin_change()
        sent_at = time()
        async with asyncio.TaskGroup() as group:
            change = group.create_task(self._change(stage, reason))
            waits = [group.create_task(watch.wait_for_version(self.version + 1, GIVE_UP_S)) for watch in self._watches]
        expectation.end_change(stage, perf_counter())
        self.version += 1
        followed_at = max(wait.result() for wait in waits)
        self.follow_s.append(max(0.0, followed_at - change.result()))
        self.take_effect_s.append(followed_at - sent_at)
        await asyncio.sleep(PAUSE_S)

    async def _change(self, stage: str, reason: str) -> float:
        """When (`time.time`) it was acknowledged."""
        version = await self._control.stage(list(ENDPOINTS), stage, reason=reason, base_version=self.version)
        self._expectation.end_change(stage, perf_counter() + FOLLOW_S)
        if version != self.version + 1:
            raise ControlError(f"the change after version {self.version} of the plan has version {version}")
        return time()


async def learn_answers(port: int) -> Expectation:
    """What the legacy side answers is what the clients were promised."""
    answers = await ask_each(port)
    for endpoint, answer in answers.items():
        if answer.header(b"x-served-by") != b"legacy" or answer.status >= 500:
            raise ControlError(f"{endpoint} was to be answered by the legacy side: {answer}")
    expected = {endpoint: Expected.of(answer) for endpoint, answer in answers.items()}
    return Expectation(expected, "legacy", since=perf_counter())


def create_load(port: int, connections: int, expectation: Expectation) -> Load:
    return Load(port, name_requests(), connections=connections, check=expectation.check)
