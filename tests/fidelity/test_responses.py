"""What an app answers, and how it reaches the client (hazards 48-52, 54-56, 58, 59, 61 and 62)."""

import pytest

from tests.fidelity.bridges import either_bridge
from tests.fidelity.programs import EXIT, FAIL, Program, item, items, note, oddity, read, restart, start, write
from tests.fidelity.raw import Exchange, build
from tests.fidelity.servers import Server, new_key

TEXT = ("Content-Type", "text/plain")
ERROR = ("500 Oops", TEXT)


def length(number: int) -> tuple[str, str]:
    return "Content-Length", str(number)


# What stock a2wsgi gets wrong for ordinary apps.
SERIOUS = {
    "an exception before the first item": Program([start()], [FAIL]),
    "an exception instead of a response": Program([start(), FAIL]),
    "an exception before the first item, with a length": Program([start("200 OK", length(5))], [FAIL]),
    "headers replaced before the first item": Program([start(), restart(*ERROR)], [item("sorry")]),
    "headers replaced while iterated": Program([start()], [restart(*ERROR), item("sorry")]),
    "a file": Program([start("200 OK", length(10_240))], [items(1, 10_240)], returns="file"),
}
# What it gets wrong too, or not.
OTHER = {
    "a list": Program([start()], [item("a"), item("b")], returns="list"),
    "an iterator without a close": Program([start()], [item("a"), item("b")], returns="iterator"),
    "an empty list": Program([start()], returns="list"),
    "an empty list of a length": Program([start("200 OK", length(0))], returns="list"),
    "nothing": Program([start()], returns="none"),
    "a file without a length": Program([start()], [items(3, 1000)], returns="file"),
    "an empty file": Program([start()], returns="file"),
    "empty items": Program([start()], [item(""), item("a"), item(""), item("b"), item("")]),
    "empty items alone": Program([start()], [item(""), item("")]),
    "an exception after an empty item": Program([start()], [item(""), FAIL]),
    "an exception after the first item": Program([start()], [item("a"), FAIL]),
    "an exception after many items": Program([start()], [items(50, 1000), FAIL]),
    "an exception within a length": Program([start("200 OK", length(10))], [item("abc"), FAIL]),
    "an exception after its length": Program([start("200 OK", length(3))], [item("abc"), FAIL]),
    "an exception in its close": Program([start()], [item("a")], [FAIL]),
    "an exception in its close, with a length": Program([start("200 OK", length(1))], [item("a")], [FAIL]),
    "an exception in its close, after another": Program([start()], [item("a"), FAIL], [FAIL]),
    "an exit while iterated": Program([start()], [item("a"), EXIT]),
    "no call of start_response": Program([], [item("a")]),
    "no call of start_response, and nothing": Program([], returns="list"),
    "start_response called late": Program([], [start(), item("a")]),
    "start_response called twice": Program([start(), start()], [item("a")]),
    "start_response with an exception first": Program([restart("200 OK", TEXT)], [item("a")]),
    "start_response with an exception too late": Program([start()], [item("a"), restart(*ERROR), item("b")]),
    "written": Program([start(), write("a"), write("b")]),
    "written and iterated": Program([start(), write("a")], [item("b"), write("c"), item("d")]),
    "written, with a length": Program([start("200 OK", length(4)), write("ab"), write("cdef")]),
    "nothing written": Program([start(), write("")]),
    "an exception after something was written": Program([start(), write("a"), FAIL]),
    "headers replaced after something was written": Program([start(), write("a"), restart(*ERROR)]),
    "more than its length": Program([start("200 OK", length(5))], [item("abc"), item("defgh"), item("ijk")]),
    "more than its length in one": Program([start("200 OK", length(5))], [item("abcdefgh")]),
    "more than a length of nothing": Program([start("200 OK", length(0))], [item("abc")]),
    "a length with blanks": Program([start("200 OK", ("Content-Length", " 3 "))], [item("abc")]),
    "a length that is none": Program([start("200 OK", ("Content-Length", "abc"))], [item("abc")]),
    "a status alone": Program([start("200")], [item("a")]),
    "a status and a blank": Program([start("200 ")], [item("a")]),
    "a status without a blank": Program([start("200OK")], [item("a")]),
    "a status of two digits": Program([start("20 OK")], [item("a")]),
    "a status with a line break": Program([start("200 OK\r\nX-Odd: 1")], [item("a")]),
    "an unknown status": Program([start("299 Very Custom")], [item("a")]),
    "a status of no known class": Program([start("999 Odd")], [item("a")]),
    "a header with a line break": Program([start("200 OK", ("X-Odd", "a\r\nX-More: b"))], [item("a")]),
    "a header with a control character": Program([start("200 OK", ("X-Odd", "a\x00b"))], [item("a")]),
    "a header beyond latin-1": Program([start("200 OK", ("X-Odd", "\u20ac"))], [item("a")]),
    "a header in latin-1": Program([start("200 OK", ("X-Name", "caf\xe9"))], [item("a")]),
    "a header with blanks around": Program([start("200 OK", ("X-Name", "  a\t"))], [item("a")]),
    "a header without a value": Program([start("200 OK", ("X-Name", ""))], [item("a")]),
    "a header without a name": Program([start("200 OK", ("", "a"))], [item("a")]),
    "a header with an odd name": Program([start("200 OK", ("X Name", "a"))], [item("a")]),
    "a header that is repeated": Program([start("200 OK", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))], [item("a")]),
    "no content": Program([start("204 No Content")], returns="list"),
    "no content of some length": Program([start("204 No Content", length(0))], returns="list"),
    "no content, and some": Program([start("204 No Content", length(3))], [item("abc")]),
    "not modified": Program([start("304 Not Modified", ("ETag", '"a"'))], [item("abc")]),
    "a large item": Program([start()], [items(1, 5_000_000)]),
    "many small items": Program([start()], [items(20_000, 64)]),
    "a body that is read while it is answered": Program([start()], [read(3), item("a"), read(100), item("b")]),
}
ALL = {**SERIOUS, **OTHER}


def exchange(server: Server, program: Program, key: str = "", method: str = "GET") -> Exchange:
    body = b"some body" if method == "POST" else None
    return server.exchange(build(method, program.target(key), body=body), method=method)


@either_bridge()
@pytest.mark.parametrize("kind", SERIOUS)
def test_serious_response_is_the_same(gunicorn: Server, mounted: Server, kind: str) -> None:
    assert exchange(mounted, SERIOUS[kind]) == exchange(gunicorn, SERIOUS[kind])


@pytest.mark.parametrize("kind", OTHER)
def test_response_is_the_same(gunicorn: Server, gateway: Server, kind: str) -> None:
    for method in ("GET", "POST"):
        assert exchange(gateway, OTHER[kind], method=method) == exchange(gunicorn, OTHER[kind], method=method)


@pytest.mark.parametrize("kind", ALL)
def test_iterable_is_closed_in_the_same_way(gunicorn: Server, gateway: Server, kind: str) -> None:
    program = ALL[kind]
    noted = Program(program.call, program.body, [note("closed"), *program.close], program.returns)
    events = []
    for server in (gunicorn, gateway):
        key = new_key()
        answer = exchange(server, noted, key).answer
        assert answer is not None
        events.append(server.events(key))

    assert events[0] == events[1]


@either_bridge()
def test_headers_of_the_connection_are_the_servers_own(gunicorn: Server, mounted: Server) -> None:
    """As a view has them that passes on what another server answered."""
    foreign: list[tuple[str, str]] = [
        ("Connection", "keep-alive, x-foreign"),
        ("Keep-Alive", "timeout=77"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic"),
        ("TE", "foreign"),
        ("Trailers", "foreign"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
    ]
    for headers in (foreign, [*foreign, length(2)]):
        sent = []
        for server in (gunicorn, mounted):
            answer = exchange(server, Program([start("200 OK", *headers)], [item("ok")])).answer
            assert answer is not None
            assert (answer.body, answer.complete) == (b"ok", True)
            names = {name.lower() for name, _ in answer.raw_headers}
            sent.append(names & {name.lower() for name, _ in foreign} - {"connection"})

        assert sent[0] == sent[1]


ERROR_PAGE = b"<html>\n  <head>\n    <title>Internal Server Error</title>"
GATEWAY_REFUSES = (500, True, "closed")
# What each of them does: status, whether the answer is complete, and the connection. See docs/fidelity.md.
DIFFERENT = {
    "an error page for HEAD": ("HEAD", Program([start(), FAIL]), (500, True, "confused"), GATEWAY_REFUSES),
    "a text for an item": ("GET", Program([start()], [oddity("a")]), (200, False, "closed"), GATEWAY_REFUSES),
    "a number for an item": ("GET", Program([start()], [oddity(5)]), (200, False, "closed"), GATEWAY_REFUSES),
    "a text for a body": ("GET", Program([start()], returns="text"), (200, False, "closed"), GATEWAY_REFUSES),
    "a length with a sign": (
        "GET",
        Program([start("200 OK", ("Content-Length", "+1"))], [item("a")]),
        (200, True, "open"),
        GATEWAY_REFUSES,
    ),
    "two lengths": (
        "GET",
        Program([start("200 OK", length(2), length(3))], [item("abc")]),
        (200, True, "open"),
        GATEWAY_REFUSES,
    ),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_response_differs_in_a_known_way(gunicorn: Server, gateway: Server, kind: str) -> None:
    method, program, *expected = DIFFERENT[kind]
    seen = []
    for server in (gunicorn, gateway):
        end = exchange(server, program, method=method)
        assert end.answer is not None
        seen.append((end.answer.status, end.answer.complete, end.connection))

    assert seen == expected


def test_informational_status_is_no_answer(gateway: Server) -> None:
    """gunicorn sends it, and its clients wait for the answer."""
    answer = exchange(gateway, Program([start("103 Early Hints")])).answer

    assert answer is not None
    assert answer.status == 500


def test_headers_of_a_response_that_is_replaced_are_not_sent(gunicorn: Server, gateway: Server) -> None:
    """gunicorn sends them beside the new ones, even a second Content-Length."""
    program = Program([start("200 OK", ("X-Old", "a"), length(100)), restart("500 Oops", length(5))], [item("sorry")])
    answers = [exchange(server, program).answer for server in (gunicorn, gateway)]

    assert [answer.headers for answer in answers if answer is not None] == [
        {"x-old": ["a"], "content-length": ["100", "5"]},
        {"content-length": ["5"]},
    ]


def test_length_of_a_body_that_is_not_sent_is_kept_for_head_alone(gunicorn: Server, gateway: Server) -> None:
    """gunicorn keeps it in a 304 too; uvicorn's protocol would wait for such a body."""
    program = Program([start("304 Not Modified", length(5))])
    answers = [exchange(server, program).answer for server in (gunicorn, gateway)]

    assert [answer.headers for answer in answers if answer is not None] == [{"content-length": ["5"]}, {}]
    head = Program([start("200 OK", length(5))], [item("abcde")])
    assert exchange(gateway, head, method="HEAD") == exchange(gunicorn, head, method="HEAD")


def test_response_shorter_than_its_length_ends_the_connection(gunicorn: Server, gateway: Server) -> None:
    """gunicorn keeps it open, until its keep-alive time of 2 s is over."""
    program = Program([start("200 OK", length(10))], [item("abc")])

    assert exchange(gateway, program) == exchange(gunicorn, program)


def test_exit_in_a_view_is_an_error_of_that_view(gateway: Server) -> None:
    """gunicorn's worker ends, with all its requests."""
    pid = gateway.pid
    answer = gateway.exchange(build("GET", "/exit")).answer

    assert answer is not None
    assert (answer.status, answer.body[: len(ERROR_PAGE)]) == (500, ERROR_PAGE)
    assert gateway.pid == pid
