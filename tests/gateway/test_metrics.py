import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.endpoints import Side
from gateway.metrics import GAUGES, GatewayMetrics, render
from gateway.plan import Placement, Stage
from gateway.traffic import LATENCY_BOUNDS, Traffic

STAGES = {"GET /a": Placement(Stage.CANARY, 12.5), 'GET /"b\\': Placement(Stage.LEGACY)}


def scrape(traffic: Traffic, *, degraded: bool = False) -> dict[str, Metric]:
    """As Prometheus reads it."""
    gauges = dict.fromkeys(GAUGES, 2.0)
    text = render(GatewayMetrics(traffic, 7, degraded, STAGES, gauges)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    """By the labels' values, the labels in alphabetical order."""
    samples = (sample for sample in family.samples if sample.name == family.name + suffix)
    return {tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value for sample in samples}


@pytest.fixture
def traffic() -> Traffic:
    traffic = Traffic()
    for status, seconds in [(200, 0.002), (204, 0.2), (404, 0.2), (0, 60.0)]:
        traffic.series("GET /a", Side.LEGACY).add(status, seconds)
        traffic.series("GET /a", Side.LEGACY).add_wait(0.004)
    traffic.series("(unmatched)", Side.ASYNC).add(500, 1.0)
    return traffic


def test_requests_are_counted_by_endpoint_side_and_class(traffic: Traffic) -> None:
    families = scrape(traffic)
    assert values(families["gateway_requests"], "_total") == {
        ("GET /a", "2xx", "legacy"): 2,
        ("GET /a", "4xx", "legacy"): 1,
        ("(unmatched)", "5xx", "async"): 1,
    }
    assert values(families["gateway_broken_requests"], "_total") == {
        ("GET /a", "legacy"): 1,
        ("(unmatched)", "async"): 0,
    }


def test_latencies_are_a_histogram(traffic: Traffic) -> None:
    family = scrape(traffic)["gateway_request_seconds"]
    buckets = {le: n for (endpoint, le, _), n in values(family, "_bucket").items() if endpoint == "GET /a"}
    assert buckets == {
        **{str(bound): 0 if bound < 0.002 else 1 if bound < 0.2 else 3 for bound in LATENCY_BOUNDS},
        "+Inf": 4,
    }
    assert values(family, "_count") == {("GET /a", "legacy"): 4, ("(unmatched)", "async"): 1}
    assert values(family, "_sum")["GET /a", "legacy"] == pytest.approx(60.402)


def test_waiting_for_a_thread_is_the_legacy_sides_alone(traffic: Traffic) -> None:
    family = scrape(traffic)["gateway_queue_seconds"]
    assert values(family, "_count") == {("GET /a",): 4}
    assert values(family, "_sum") == {("GET /a",): pytest.approx(0.016)}


def test_stages_are_exported_with_any_name(traffic: Traffic) -> None:
    families = scrape(traffic)
    assert values(families["gateway_endpoint_stage"]) == {("GET /a", "canary"): 1, ('GET /"b\\', "legacy"): 1}
    assert values(families["gateway_canary_percent"]) == {("GET /a",): 12.5}


@pytest.mark.parametrize(("degraded", "up"), [(False, 1), (True, 0)])
def test_plan_store_and_gauges_are_single_values(degraded: bool, up: int) -> None:
    families = scrape(Traffic(), degraded=degraded)
    assert values(families["gateway_plan_version"]) == {(): 7}
    assert values(families["gateway_store_up"]) == {(): up}
    assert {name: values(families[name]) for name in GAUGES} == {name: {(): 2} for name in GAUGES}


def test_every_metric_says_what_it_is(traffic: Traffic) -> None:
    families = scrape(traffic)
    assert [name for name, family in families.items() if not family.documentation] == []
    assert all(name.startswith("gateway_") for name in families)
