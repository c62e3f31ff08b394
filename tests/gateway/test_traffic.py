import json

import pytest

from gateway.endpoints import Side
from gateway.traffic import LATENCY_BOUNDS, Series, Traffic


@pytest.mark.parametrize(
    ("status", "statuses", "broken"),
    [
        (101, [1, 0, 0, 0, 0], 0),
        (200, [0, 1, 0, 0, 0], 0),
        (308, [0, 0, 1, 0, 0], 0),
        (404, [0, 0, 0, 1, 0], 0),
        (599, [0, 0, 0, 0, 1], 0),
        (0, [0, 0, 0, 0, 0], 1),
        (600, [0, 0, 0, 0, 0], 1),
    ],
)
def test_answer_is_counted_by_its_class(status: int, statuses: list[int], broken: int) -> None:
    series = Series()
    series.add(status, 0.5)
    assert (series.statuses, series.broken, series.requests, series.seconds) == (statuses, broken, 1, 0.5)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (1.0, 9), (30.0, 13), (30.1, 14), (1e9, 14)]
)
def test_latency_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    series = Series()
    series.add(200, seconds)
    series.add_wait(seconds)
    expected = [int(number == bucket) for number in range(len(LATENCY_BOUNDS) + 1)]
    assert (series.latencies, series.waited, series.waited_seconds) == (expected, expected, seconds)


def fill(*entries: tuple[str, Side, int]) -> Traffic:
    traffic = Traffic()
    for endpoint, side, status in entries:
        traffic.series(endpoint, side).add(status, 0.25)
    return traffic


def test_sum_of_two_processes_leaves_both_as_they_were() -> None:
    one = fill(("GET /a", Side.LEGACY, 200), ("GET /a", Side.ASYNC, 200))
    other = fill(("GET /a", Side.LEGACY, 500), ("GET /b", Side.LEGACY, 200))
    before = other.to_json()
    total = Traffic()
    total.add(one)
    total.add(other)
    total.series("GET /a", Side.LEGACY).add(200, 1)
    assert {(endpoint, side.value): series.statuses for endpoint, side, series in total.items()} == {
        ("GET /a", "legacy"): [0, 2, 0, 0, 1],
        ("GET /a", "async"): [0, 1, 0, 0, 0],
        ("GET /b", "legacy"): [0, 1, 0, 0, 0],
    }
    assert other.to_json() == before


def test_traffic_survives_being_written_and_read() -> None:
    traffic = fill(("GET /a", Side.LEGACY, 200), ("GET /a", Side.ASYNC, 0), ("(unmatched)", Side.LEGACY, 404))
    traffic.series("GET /a", Side.LEGACY).add_wait(0.3)
    read = Traffic.from_json(json.loads(json.dumps(traffic.to_json())))
    assert list(read.items()) == list(traffic.items())
