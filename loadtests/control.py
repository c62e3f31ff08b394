"""An operator: moves endpoints through the control API, and watches each worker follow."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

from loadtests.http_connection import Answer, Connection
from loadtests.http_load import build_request
from loadtests.servers import TOKEN

AUTHORIZATION = ("Authorization", f"Bearer {TOKEN}")
HEALTH = build_request("GET", "/_gateway/health")
ANSWER_S = 10.0
POLL_S = 0.001
START_S = 10.0
"""How much later than the first worker the last one may be ready."""
CONNECTIONS_AT_ONCE = 4
"""One after the other, an idle worker might take them all."""

Health = dict[str, Any]


class ControlError(Exception):
    """The control API did not do what it was asked to, or a worker did not do it in time."""


class Control:
    """One connection to the control API; which worker answers is not known."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    async def get(self, path: str) -> Any:
        return _read(await self._send("GET", path), path)

    async def stage(self, endpoints: Sequence[str], stage: str, *, reason: str, base_version: int | None = None) -> int:
        """Move the endpoints; the version of the plan that is in force then."""
        answer = await self.try_stage(endpoints, stage, reason=reason, base_version=base_version)
        version: int = _read(answer, "/stage")["plan_version"]
        return version

    async def try_stage(
        self, endpoints: Sequence[str], stage: str, *, reason: str, base_version: int | None = None
    ) -> Answer:
        document = {"endpoints": list(endpoints), "stage": stage, "reason": reason, "base_version": base_version}
        return await self._send("POST", "/stage", json.dumps(document).encode())

    def close(self) -> None:
        self._connection.close()

    async def _send(self, method: str, path: str, body: bytes = b"") -> Answer:
        headers = [AUTHORIZATION, ("Content-Type", "application/json")]
        request = build_request(method, f"/_gateway{path}", headers, body)
        async with asyncio.timeout(ANSWER_S):
            return await self._connection.exchange(request.data)


class WorkerWatch:
    """A connection to the health of one worker, which is known by its process id."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self.pid = pid
        self._connection = connection

    async def health(self) -> Health:
        health = await _get_health(self._connection)
        if _pid(health) != self.pid:
            raise ControlError(f"worker {self.pid} has closed the connection on which it was watched")
        return health

    async def wait_for(self, condition: Callable[[Health], bool], what: str, timeout_s: float) -> Health:
        """The first health of which `condition` holds. Raises ControlError if there is none in time."""
        deadline = perf_counter() + timeout_s
        while not condition(health := await self.health()):
            if perf_counter() > deadline:
                raise ControlError(f"worker {self.pid}: not {what} after {timeout_s:g} s")
            await asyncio.sleep(POLL_S)
        return health

    async def wait_for_version(self, version: int, timeout_s: float) -> float:
        """Wait until the worker follows this version of the plan. Since when it does (`time.time`), as it says."""

        def follows(health: Health) -> bool:
            followed: int = health["workers"][0]["plan_version"]
            return followed >= version

        health = await self.wait_for(follows, f"at version {version} of the plan", timeout_s)
        return datetime.fromisoformat(health["workers"][0]["followed_at"]).timestamp()

    def close(self) -> None:
        self._connection.close()


async def watch_workers(port: int, workers: int) -> list[WorkerWatch]:
    """A watch on every one of that many workers. Raises ControlError if there are fewer."""
    watches: dict[int, WorkerWatch] = {}
    deadline = perf_counter() + START_S
    while len(watches) < workers:
        if perf_counter() > deadline:
            raise ControlError(f"only {len(watches)} of {workers} workers answered within {START_S:g} s")
        # Which worker gets a connection is the kernel's choice
        for watch in await asyncio.gather(*(_watch_any(port) for _ in range(CONNECTIONS_AT_ONCE))):
            if watches.setdefault(watch.pid, watch) is not watch:
                watch.close()
    return list(watches.values())


async def _watch_any(port: int) -> WorkerWatch:
    connection = Connection(port)
    return WorkerWatch(connection, _pid(await _get_health(connection)))


async def _get_health(connection: Connection) -> Health:
    async with asyncio.timeout(ANSWER_S):
        answer = await connection.exchange(HEALTH.data)
    health: Health = _read(answer, "/health")
    return health


def _pid(health: Health) -> int:
    pid: int = health["workers"][0]["pid"]
    return pid


def _read(answer: Answer, path: str) -> Any:
    if answer.status != 200:
        raise ControlError(f"{path} answered {answer.status}: {answer.body.decode(errors='replace')}")
    return json.loads(answer.body)
