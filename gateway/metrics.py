"""Prometheus metrics. Labels are endpoints' identities, never paths, so their number is bounded."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.endpoints import Side
from gateway.plan import Placement
from gateway.traffic import LATENCY_BOUNDS, STATUS_CLASSES, Traffic

ENDPOINT_LABELS = ("endpoint", "upstream")
GAUGES = {
    "gateway_loop_blocked": "How often something blocked the event loop for longer than it may.",
    "gateway_legacy_threads": "Threads that may run the legacy app.",
    "gateway_legacy_busy_threads": "Threads that run the legacy app now.",
    "gateway_legacy_waiting_requests": "Requests that wait for such a thread.",
}


class GatewayMetrics(Collector):
    """One scrape's numbers."""

    def __init__(
        self,
        traffic: Traffic,
        plan_version: int,
        degraded: bool,
        stages: dict[str, Placement],
        gauges: dict[str, float],
    ) -> None:
        """`gauges`: further values, by a name out of `GAUGES`."""
        self._gauges = gauges
        self._traffic = traffic
        self._plan_version = plan_version
        self._degraded = degraded
        self._stages = stages

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily("gateway_requests", "Requests answered.", labels=[*ENDPOINT_LABELS, "status"])
        broken = CounterMetricFamily("gateway_broken_requests", "Requests without an answer.", labels=ENDPOINT_LABELS)
        seconds = HistogramMetricFamily(
            "gateway_request_seconds", "Time until the answer began.", labels=ENDPOINT_LABELS
        )
        waits = HistogramMetricFamily(
            "gateway_queue_seconds", "Time that a request waited for a thread.", labels=("endpoint",)
        )
        for endpoint, side, series in self._traffic.items():
            labels = (endpoint, side.value)
            for status, number in zip(STATUS_CLASSES, series.statuses, strict=True):
                if number:
                    requests.add_metric((*labels, status), number)
            broken.add_metric(labels, series.broken)
            seconds.add_metric(labels, buckets=_buckets(series.latencies), sum_value=series.seconds)
            if side is Side.LEGACY:
                waits.add_metric((endpoint,), buckets=_buckets(series.waited), sum_value=series.waited_seconds)
        yield from (requests, broken, seconds, waits)
        stage = GaugeMetricFamily("gateway_endpoint_stage", "1 for the stage in force.", labels=("endpoint", "stage"))
        percent = GaugeMetricFamily("gateway_canary_percent", "Share of callers.", labels=("endpoint",))
        for name, placement in self._stages.items():
            stage.add_metric((name, placement.stage.value), 1)
            if placement.percent is not None:
                percent.add_metric((name,), placement.percent)
        yield from (stage, percent)
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, GAUGES[name], value=value)
        yield GaugeMetricFamily("gateway_plan_version", "The plan in force.", value=self._plan_version)
        yield GaugeMetricFamily("gateway_store_up", "0 while the plan's store is away.", value=not self._degraded)


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    return list(zip((*map(str, LATENCY_BOUNDS), "+Inf"), accumulate(counts), strict=True))


def render(metrics: GatewayMetrics) -> bytes:
    """In Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    return generate_latest(registry)
