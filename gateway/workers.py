"""What the workers of one server tell each other: their traffic and which plan they follow."""

import asyncio
import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.follower import PlanFollower
from gateway.traffic import Traffic

logger = logging.getLogger("gateway.workers")

PUBLISH_EVERY_S = 1.0


class WorkerBoard:
    """One JSON file per worker, replaced whole once a second.

    So any worker can answer for all of them. The file of a worker that died stays: what it served was served.
    Without a `directory` (under another server than `gateway serve`) each worker speaks for itself.
    """

    def __init__(
        self,
        directory: Path | None,
        traffic: Traffic,
        follower: PlanFollower,
        gauges: Callable[[], dict[str, float]] = dict,
    ) -> None:
        """`gauges`: this worker's present values of what adds up over the workers, by metric name."""
        self._directory = directory
        self._gauges = gauges
        self._traffic = traffic
        self._follower = follower
        self._started_at = datetime.now(UTC)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._directory is not None:
            self._task = asyncio.create_task(self._publish_forever(self._directory), name="worker board")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._directory is not None:
            await self._publish(self._directory)

    def total_traffic(self) -> Traffic:
        """All workers' traffic, the dead ones' included; the others' at most a second old. Reads files."""
        total = Traffic()
        total.add(self._traffic)
        for entry in self._others():
            total.add(Traffic.from_json(entry["traffic"]))
        return total

    def total_gauges(self) -> dict[str, float]:
        """The sum of the living workers' gauges; the others' at most a second old. Reads files."""
        total: Counter[str] = Counter()
        for worker in self.list_workers():
            total.update(worker["gauges"])
        return dict(total)

    def list_workers(self) -> list[dict[str, Any]]:
        """The workers that are alive, this one first. Reads files."""
        mine = self._entry()
        others = (entry for entry in self._others() if _is_alive(entry["pid"]))
        return [{name: entry[name] for name in entry if name != "traffic"} for entry in (mine, *others)]

    async def _publish_forever(self, directory: Path) -> None:
        while True:
            await self._publish(directory)
            await asyncio.sleep(PUBLISH_EVERY_S)

    async def _publish(self, directory: Path) -> None:
        text = json.dumps({**self._entry(), "traffic": self._traffic.to_json()})
        try:
            await asyncio.to_thread(_replace, directory / f"worker-{os.getpid()}.json", text)
        except OSError as exc:
            logger.warning("this worker's traffic cannot be shared with the others: %s", exc)

    def _entry(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "started_at": _iso(self._started_at),
            "plan_version": self._follower.plan.version,
            "followed_at": _iso(self._follower.followed_at),
            "degraded": self._follower.degraded,
            "gauges": self._gauges(),
        }

    def _others(self) -> list[dict[str, Any]]:
        if self._directory is None:
            return []
        own = f"worker-{os.getpid()}.json"
        entries = []
        for path in sorted(self._directory.glob("worker-*.json")):
            if path.name != own:
                with contextlib.suppress(OSError, ValueError):
                    entries.append(json.loads(path.read_text()))
        return entries


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
