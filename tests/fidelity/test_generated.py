"""Requests that nobody would think of, each sent to gunicorn and to the gateway.

About a thousand; as many as FIDELITY_REQUESTS says if it is set.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from string import ascii_letters, digits

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.fidelity.differences import Answered, explain
from tests.fidelity.programs import FAIL, Program, Step, item, items, oddity, read, restart, start, write
from tests.fidelity.raw import Answer, build
from tests.fidelity.raw_apps import READ
from tests.fidelity.servers import Server, eventually

REQUESTS = int(os.environ.get("FIDELITY_REQUESTS", "1000"))


def generated(share: float) -> settings:
    """For a test that has this share of all requests."""
    return settings(
        max_examples=max(int(REQUESTS * share), 1),
        deadline=None,
        derandomize="FIDELITY_REQUESTS" not in os.environ,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def joined(*pieces: str, most: int = 12) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=most).map("".join)


METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"])
ESCAPES = (
    "%20",
    "%2F",
    "%2f",
    "%25",
    "%3F",
    "%C3%A9",
    "%E2%82%AC",
    "%FF",
    "%c0%af",
    "%00",
    "%0A",
    "%7F",
    "%zz",
    "%",
    "%4",
)
# Of these a URL should have none, and clients send them all the same.
ODD = ('"', "<>", "[", "]", "{|}", "\\", "^", "`")
PATHS = joined("/", "/", "a", "b.c", "..", ".", ";x=1", "+", "!$&'()*,", ":@=", "~-_", *ESCAPES, *ODD).map("/{}".format)
QUERIES = st.just("") | joined("a", "b", "=", "&?", "/;", "+", ":@!$'()*,", "#", *ESCAPES, *ODD).map("?{}".format)
TOKENS = st.text("!#$%&'*+-.^_`|~" + digits + ascii_letters, min_size=1, max_size=12)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"])
VALUES = st.lists(st.text(VISIBLE, max_size=10), max_size=4).flatmap(
    lambda words: st.sampled_from([" ", "\t", "  "]).map(lambda blank: blank.join(words))
)
HEADERS = st.lists(st.tuples(TOKENS.map("X-{}".format) | st.sampled_from(["Cookie", "Accept"]), VALUES), max_size=6)
# Six of these stay below the 64 KiB that gunicorn reads for an app that does not: it hangs up on larger ones.
PIECES = st.sampled_from([b"\n", b"\r", b"line", b"\x00", b"x" * 999])
BODIES = st.binary(max_size=300) | st.lists(PIECES, max_size=10).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn) -> list[bytes]:
    return [chunk for chunk in draw(st.lists(BODIES, max_size=6)) if chunk]


@st.composite
def requests(draw: st.DrawFn, targets: st.SearchStrategy[str]) -> tuple[str, bytes]:
    """A method and the whole request."""
    method, target, headers = draw(METHODS), draw(targets), draw(HEADERS)
    match draw(st.sampled_from(["none", "length", "chunks"])):
        case "length":
            return method, build(method, target, headers, draw(BODIES))
        case "chunks":
            return method, build(method, target, headers, chunks=draw(chunked()))
        case _:
            return method, build(method, target, headers)


@st.composite
def packets(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=5)))
    return [data[begin:end] for begin, end in pairwise([0, *cuts, len(data)])]


TARGETS = (
    st.tuples(PATHS, QUERIES).map(lambda parts: "/raw/echo" + "".join(parts))
    | st.sampled_from(list(READ)).map("/raw/read/{}".format)
    | st.tuples(PATHS, QUERIES).map("".join)
    | st.sampled_from(["/parse", "/file", "/", "/echo", "/stream?chunks=3", "/slow-close"])
)


@generated(0.35)
@given(data=st.data())
def test_request_is_answered_alike(gunicorn: Server, gateway: Server, data: st.DataObject) -> None:
    method, request = data.draw(requests(TARGETS))
    pieces = data.draw(packets(request))

    truth = gunicorn.exchange(*pieces, method=method)

    assert gateway.exchange(*pieces, method=method) == truth
    event(f"status {truth.answer and truth.answer.status}")


# --- several on one connection ---------------------------------------------------------------------------------------


@generated(0.15)
@given(data=st.data())
def test_requests_on_one_connection_are_answered_alike(gunicorn: Server, gateway: Server, data: st.DataObject) -> None:
    several = data.draw(st.lists(requests(TARGETS), min_size=2, max_size=4))
    pieces = data.draw(packets(b"".join(request for _, request in several)))
    methods = [method for method, _ in several]

    assert converse(gateway, pieces, methods) == converse(gunicorn, pieces, methods)


def converse(server: Server, pieces: Sequence[bytes], methods: Sequence[str]) -> list[Answer | None]:
    with server.connect() as connection:
        connection.send_as_long_as_it_listens(*pieces)
        return [connection.read_answer(method) for method in methods]


# --- responses -------------------------------------------------------------------------------------------------------

TEXTS = st.text(ascii_letters, max_size=5)
STATUSES = st.sampled_from(
    ["200 OK", "200", "201 Created", "204 No Content", "299 Odd", "304 Not Modified", "404 Not Found", "599 X", "999 X"]
)
LENGTHS = st.integers(0, 12).map(str)
ANSWERS = st.lists(
    st.tuples(TOKENS.map("X-{}".format) | st.just("Set-Cookie"), VALUES)
    | st.tuples(st.just("Content-Length"), LENGTHS),
    max_size=3,
    unique_by=lambda header: header[0],
)
STARTS = st.builds(lambda status, headers: start(status, *headers), STATUSES, ANSWERS)
RESTARTS = st.builds(lambda status, headers: restart(status, *headers), STATUSES, ANSWERS)
CALLS: st.SearchStrategy[Step] = st.one_of(
    TEXTS.map(write), st.builds(read, st.integers(-1, 10)), RESTARTS, STARTS, st.just(FAIL)
)
ITEMS: st.SearchStrategy[Step] = st.one_of(
    TEXTS.map(item),
    st.builds(items, st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([oddity("a"), oddity(None)]),
)
PROGRAMS = st.builds(
    Program,
    st.builds(lambda first, more: [first, *more], STARTS, st.lists(CALLS, max_size=2)) | st.lists(CALLS, max_size=2),
    st.lists(ITEMS | ITEMS | CALLS, max_size=5),
    st.sampled_from([[], [], [], [FAIL]]),
    st.sampled_from(["closeable", "closeable", "list", "iterator", "file", "none"]),
)


@generated(0.4)
@given(method=st.sampled_from(["GET", "GET", "POST", "HEAD"]), program=PROGRAMS, body=st.binary(max_size=20))
def test_response_reaches_the_client_alike(
    gunicorn: Server, gateway: Server, method: str, program: Program, body: bytes
) -> None:
    # To be closed, as gunicorn would wait for 2 s where a response is shorter than its Content-Length.
    request = build(method, program.target(), [("Connection", "close")], body if method == "POST" else None)

    truth, mounted = (server.exchange(request, method=method) for server in (gunicorn, gateway))

    difference = None if truth == mounted else explain(Answered(method, program, truth, mounted))
    if difference is None:
        assert mounted == truth
    else:
        event(difference.case)


# --- clients that leave ----------------------------------------------------------------------------------------------


@generated(0.1)
@given(data=st.data())
def test_client_that_leaves_leaves_nothing_behind(gateway: Server, data: st.DataObject) -> None:
    _, request = data.draw(requests(TARGETS | PROGRAMS.map(Program.target)))
    pieces = data.draw(packets(request[: data.draw(st.integers(0, len(request)))]))
    abort = data.draw(st.booleans())
    with gateway.connect() as connection:
        connection.send_as_long_as_it_listens(*pieces)
        if abort:
            connection.abort()

    eventually(gateway.active, lambda number: number == 0)


@pytest.fixture(scope="module", autouse=True)
def all_threads_are_free_afterwards(gateway: Server) -> Iterator[None]:
    yield
    gateway.assert_all_threads_are_free()
