"""Request bodies, however they are sent and read (hazards 14-19 and 21-23)."""

import json
from collections.abc import Sequence
from random import Random

import pytest

from tests.fidelity.bridges import either_bridge
from tests.fidelity.raw import build
from tests.fidelity.raw_apps import READ
from tests.fidelity.servers import Server, new_key

Headers = Sequence[tuple[str, str]]

FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"),)
JSON: Headers = (("Content-Type", "application/json"),)
MULTIPART: Headers = (("Content-Type", "multipart/form-data; boundary=XX"),)
FILE = (
    b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\none\r\ntwo\n\r\n--XX--\r\n'
)
PARSED = {
    "form": (FORM, b"a=1&b=2&a=%C3%A9"),
    "multipart": (MULTIPART, FILE),
    "json": (JSON, b'{"a": [1, "\xc3\xa9"]}'),
    "text": ((), b"some text"),
    "nothing": ((), b""),
}
# Lines short and long, empty, with a carriage return, and without an end.
LINES = b"l1\nl2\r\n\n\n" + b"a longer line " * 200 + b"\nl\nast"
BODIES = (LINES, LINES + b"\n", b"one line", b"\n", b"")


def split(body: bytes, *sizes: int) -> list[bytes]:
    """Chunks of these sizes by turns."""
    chunks, at = [], 0
    while at < len(body):
        chunks.append(body[at : at + sizes[len(chunks) % len(sizes)]])
        at += len(chunks[-1])
    return chunks


# --- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARSED)
def test_body_with_a_length_is_parsed_alike(gunicorn: Server, gateway: Server, kind: str) -> None:
    headers, body = PARSED[kind]
    request = build("POST", "/parse", headers, body)

    assert gateway.exchange(request) == gunicorn.exchange(request)


@either_bridge()
@pytest.mark.parametrize("kind", [kind for kind in PARSED if kind != "nothing"])
def test_chunked_body_is_parsed_alike(gunicorn: Server, mounted: Server, kind: str) -> None:
    headers, body = PARSED[kind]
    request = build("POST", "/parse", headers, chunks=split(body, 1, 7))

    truth = gunicorn.exchange(request)

    assert mounted.exchange(request) == truth
    assert truth.answer is not None
    assert json.loads(truth.answer.body) != [{}, {}, None, ""]


@either_bridge()
def test_large_chunked_body_arrives_whole_in_many_packets(gunicorn: Server, mounted: Server) -> None:
    body = Random(0).randbytes(3_000_000)
    request = build("POST", "/digest", chunks=split(body, 1, 100_000, 10, 8191))
    packets = split(request, 50_000, 1, 1_000, 200_000)

    assert mounted.exchange(*packets) == gunicorn.exchange(*packets)


# --- how it is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("way", READ)
def test_every_way_of_reading_reads_the_same(gunicorn: Server, gateway: Server, way: str, framing: str) -> None:
    for body in BODIES:
        if framing == "length":
            request = build("POST", f"/raw/read/{way}", body=body)
        else:
            request = build("POST", f"/raw/read/{way}", chunks=split(body, 3, 1000))

        assert gateway.exchange(request) == gunicorn.exchange(request)


@either_bridge()
@pytest.mark.parametrize("way", ["readline-4", "mixture"])
def test_line_with_a_limit_is_read_from_a_body_of_several_packets(gunicorn: Server, mounted: Server, way: str) -> None:
    request = build("POST", f"/raw/read/{way}", body=LINES)

    assert mounted.exchange(*split(request, 150)) == gunicorn.exchange(*split(request, 150))


def test_request_without_a_body_reads_as_empty(gunicorn: Server, gateway: Server) -> None:
    for way in READ:
        request = build("GET", f"/raw/read/{way}")

        assert gateway.exchange(request) == gunicorn.exchange(request)


# --- what does not arrive --------------------------------------------------------------------------------------------


@either_bridge()
@pytest.mark.parametrize("end", ["close", "abort"])
def test_chunked_body_that_breaks_off_is_not_taken_for_complete(gunicorn: Server, mounted: Server, end: str) -> None:
    key = new_key()
    request = build("POST", f"/digest?id={key}", [("Transfer-Encoding", "chunked")]) + b"64\r\n" + bytes(50)
    for server in (gunicorn, mounted):
        with server.connect() as connection:
            connection.send(request)
            server.wait_for(key, "began")
            if end == "abort":
                connection.abort()

    assert mounted.wait_for(key, "teardown") == gunicorn.wait_for(key, "teardown") == ["began", "aborted", "teardown"]


def test_body_shorter_than_its_length_is_refused_and_not_only_then(gunicorn: Server, gateway: Server) -> None:
    """Differs: gunicorn takes what has come for all of it. See docs/fidelity.md."""
    ends = {}
    for server in (gunicorn, gateway):
        key = new_key()
        with server.connect() as connection:
            connection.send(build("POST", f"/digest?id={key}", [("Content-Length", "1000")]) + bytes(100))
            server.wait_for(key, "began")
        ends[server.name] = server.wait_for(key, "teardown")

    assert ends == {
        "gunicorn": ["began", "done 100", "teardown"],
        "gateway": ["began", "aborted", "teardown"],
    }


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_body_over_the_apps_own_limit_is_refused_alike(gunicorn: Server, gateway: Server, framing: str) -> None:
    for size in (1000, 1001, 5000):
        body = bytes(size)
        if framing == "length":
            request = build("POST", "/limited", body=body)
        else:
            request = build("POST", "/limited", chunks=split(body, 100))

        assert gateway.exchange(request).answer == gunicorn.exchange(request).answer


# --- what nobody reads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100_000, 8_000_000])
def test_answer_to_an_unread_body_can_be_read(gunicorn: Server, gateway: Server, size: int) -> None:
    request = build("POST", "/unread", [("Connection", "close")], bytes(size))
    for server in (gunicorn, gateway):
        with server.connect() as connection:
            connection.send_as_long_as_it_listens(request)
            answer = connection.read_answer()

        assert answer is not None
        assert (answer.status, answer.body, answer.complete) == (413, b"not interested", True)


def test_unread_body_leaves_the_connection_usable(gunicorn: Server, gateway: Server) -> None:
    for request in (build("POST", "/unread", body=bytes(5000)), build("POST", "/unread", chunks=[bytes(5000)] * 3)):
        truth = gunicorn.exchange(request)

        assert gateway.exchange(request) == truth
        assert truth.connection == "open"


def test_large_unread_body_leaves_the_connection_usable_here_alone(gunicorn: Server, gateway: Server) -> None:
    """Differs: gunicorn reads 64 KiB of it, then it hangs up. See docs/fidelity.md."""
    request = build("POST", "/unread", body=bytes(200_000))
    truth, mounted = gunicorn.exchange(request), gateway.exchange(request)

    assert mounted.answer == truth.answer
    assert (truth.connection, mounted.connection) == ("closed", "open")


def test_client_that_waits_for_100_continue_is_told_to_go_on(gunicorn: Server, gateway: Server) -> None:
    interim = {}
    for server in (gunicorn, gateway):
        with server.connect() as connection:
            connection.send(build("POST", "/parse", [("Content-Length", "4"), ("Expect", "100-continue")]))
            connection.wait_for(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.send(b"body")
            answer = connection.read_answer()
        assert answer is not None
        assert json.loads(answer.body)[3] == "body"
        interim[server.name] = answer.interim

    assert interim == {"gunicorn": (100,), "gateway": (100,)}
