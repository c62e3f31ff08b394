"""The load test itself, in small. No times are asserted but the second within which the design has workers follow."""

import pytest

from loadtests.http_connection import Answer
from loadtests.http_load import Problem, Request
from loadtests.httpbin_requests import Expected
from loadtests.moving_load import Expectation
from loadtests.outage import run_outage
from loadtests.switching import run_switching

REQUEST = Request("GET /x", b"")


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_moves_under_load_fail_no_request(store: str) -> None:
    report = await run_switching(store, 20, connections=16, workers=2)
    assert report.counts.requests > 100
    assert (report.counts.failed, report.counts.wrong, report.counts.late) == (0, 0, 0), report
    assert report.follow_s.max < 1
    assert report.has_passed


async def test_outage_of_redis_fails_no_request_and_loses_no_plan() -> None:
    report = await run_outage(3.0, connections=16, workers=2)
    assert report.counts.requests > 100
    assert (report.counts.failed, report.counts.wrong, report.counts.late) == (0, 0, 0), report
    assert report.mistakes == ()
    assert report.follow_s.max < 1
    assert report.has_passed


def answer(*, side: str = "legacy", sent_at: float = 0.0, status: int = 200, body: bytes = b"ok") -> Answer:
    headers = [(b"content-length", b"2"), (b"x-served-by", side.encode()), (b"date", str(sent_at).encode())]
    return Answer(sent_at, status, headers, body)


@pytest.fixture
def expectation() -> Expectation:
    return Expectation({"GET /x": Expected.of(answer())}, "legacy", since=100.0)


def test_expected_answer_is_no_problem(expectation: Expectation) -> None:
    assert expectation.check(REQUEST, answer(sent_at=101.0)) is None


@pytest.mark.parametrize(
    ("given", "kind", "detail"),
    [
        (answer(status=500, body=b"boom"), "failed", "status 500 instead of 200: b'boom'"),
        (answer(status=404), "wrong", "status 404 instead of 200: b'ok'"),
        (answer(body=b"of"), "wrong", "body, from byte 1 on: b'f' instead of b'k'"),
        (answer(body=b"o"), "wrong", "body, from byte 1 on: b'' instead of b'k'"),
        (answer(side="nobody"), "wrong", "served by nobody"),
    ],
    ids=["server error", "status", "body", "cut body", "side"],
)
def test_unexpected_answer_is_named(expectation: Expectation, given: Answer, kind: str, detail: str) -> None:
    problem = expectation.check(REQUEST, given)
    assert problem is not None
    assert (problem.kind, problem.request, problem.detail) == (kind, "GET /x", detail)


def test_unexpected_header_is_named(expectation: Expectation) -> None:
    given = answer()
    given.headers[0] = (b"content-length", b"02")
    problem = expectation.check(REQUEST, given)
    assert problem == Problem(
        "wrong", "GET /x", "headers [(b'content-length', b'02')] instead of [(b'content-length', b'2')]"
    )


def test_either_side_may_answer_during_a_change(expectation: Expectation) -> None:
    expectation.begin_change()
    assert [expectation.check(REQUEST, answer(side=side, sent_at=200.0)) for side in ("legacy", "async")] == [None] * 2


def test_old_side_after_the_change_is_late(expectation: Expectation) -> None:
    expectation.begin_change()
    expectation.end_change("async", 201.0)  # a second after it was acknowledged
    expectation.end_change("async", 200.5)  # every worker has followed
    assert expectation.check(REQUEST, answer(side="async", sent_at=200.6)) is None
    assert expectation.check(REQUEST, answer(side="legacy", sent_at=200.4)) is None
    late = Problem("late", "GET /x", "sent to legacy 100.0 ms after async had taken over")
    assert expectation.check(REQUEST, answer(side="legacy", sent_at=200.6)) == late
