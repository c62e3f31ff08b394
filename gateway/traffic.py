"""What has been served: per endpoint and upstream, counted by status class and by latency."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from gateway.endpoints import Side

# Upper bounds in seconds; the last bucket has none.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
UNMATCHED = "(unmatched)"
"""Stands for every request without an endpoint, so that what clients make up never becomes a name."""


@dataclass(slots=True)
class Series:
    """One endpoint on one upstream. Only the event loop writes, so nothing is locked."""

    statuses: list[int] = field(default_factory=lambda: [0] * len(STATUS_CLASSES))
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    seconds: float = 0.0
    waited: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    """How long requests waited for a thread, in the same buckets; the legacy side's alone."""
    waited_seconds: float = 0.0
    broken: int = 0
    """Requests without a whole answer: an exception, or a client that left."""

    def add(self, status: int, seconds: float) -> None:
        """Count one answer; `status` 0 stands for none."""
        if 100 <= status <= 599:
            self.statuses[status // 100 - 1] += 1
        else:
            self.broken += 1
        self.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add_wait(self, seconds: float) -> None:
        self.waited[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.waited_seconds += seconds

    @property
    def requests(self) -> int:
        return sum(self.latencies)

    def __iadd__(self, other: "Series") -> Self:
        self.statuses = [a + b for a, b in zip(self.statuses, other.statuses, strict=True)]
        self.latencies = [a + b for a, b in zip(self.latencies, other.latencies, strict=True)]
        self.seconds += other.seconds
        self.waited = [a + b for a, b in zip(self.waited, other.waited, strict=True)]
        self.waited_seconds += other.waited_seconds
        self.broken += other.broken
        return self

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Traffic:
    """The series of one process, or the sum of several."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, Side], Series] = {}

    def series(self, endpoint: str, side: Side) -> Series:
        key = (endpoint, side)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series()
        return series

    def items(self) -> Iterator[tuple[str, Side, Series]]:
        for (endpoint, side), series in self._series.items():
            yield endpoint, side, series

    def add(self, other: "Traffic") -> None:
        for endpoint, side, series in other.items():
            mine = self.series(endpoint, side)
            mine += series

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"endpoint": endpoint, "side": side.value, **series.to_json()} for endpoint, side, series in self.items()
        ]

    @classmethod
    def from_json(cls, document: list[Mapping[str, Any]]) -> Self:
        traffic = cls()
        for entry in document:
            counts = {name: value for name, value in entry.items() if name not in ("endpoint", "side")}
            traffic._series[entry["endpoint"], Side(entry["side"])] = Series(**counts)
        return traffic
