"""Bodies: files, chunks, forms, and the limits that Flask puts on them."""

import json
import random
from hashlib import sha256

import pytest

from tests.examples.session import FORM, JSON, MULTIPART, field, file, parts
from tests.extensions.apps.uploads import MAX_CONTENT_BYTES, MAX_FORM_MEMORY_BYTES, MAX_FORM_PARTS
from tests.extensions.visitors import Both, Visitor, read_bytes

# Werkzeug keeps files up to 500 kB in memory.
LARGE = random.Random(7).randbytes(700_000)
STREAM = "application/octet-stream"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EVERYTHING = 1_000_000


def pieces(body: bytes, size: int = 70_000) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_files_in_memory_and_on_disk(both: Both, chunked: bool) -> None:
    body = parts(
        field("title", "Café".encode()),
        file("small", "small.txt", "text/plain", b"small"),
        file("large", "large.bin", STREAM, LARGE),
    )
    for visitor in both():
        page = visitor.send("POST", "/uploads/files", MULTIPART, pieces(body) if chunked else body)

        assert page.json["fields"] == {"title": "Café"}
        assert page.json["files"]["large"] == {
            "name": "large.bin",
            "type": STREAM,
            "bytes": len(LARGE),
            "sha256": sha256(LARGE).hexdigest(),
            "kept in": "BufferedRandom",
        }
        assert page.json["files"]["small"]["kept in"] == "BytesIO"


@pytest.mark.parametrize("size", [1, 999, 70_000, len(LARGE)])
def test_stream_in_chunks(both: Both, size: int) -> None:
    body = LARGE if size > 1 else LARGE[:3000]
    for visitor in both():
        page = visitor.send("POST", "/uploads/stream", (), pieces(body, size))

        assert page.json == {"bytes": len(body), "sha256": sha256(body).hexdigest(), "length": None}


def test_stream_with_a_length_and_stream_of_nothing(both: Both) -> None:
    for visitor in both():
        assert visitor.send("POST", "/uploads/stream", (), LARGE).json["length"] == len(LARGE)
        assert visitor.send("POST", "/uploads/stream").json["bytes"] == 0
        assert visitor.send("POST", "/uploads/stream", (), [b""]).json["bytes"] == 0


def test_lines_json_and_form_in_chunks(both: Both) -> None:
    for visitor in both():
        assert visitor.send("POST", "/uploads/lines", (), [b"a\nb", b"c\n", b"d"]).json == ["a\n", "bc\n", "d"]
        assert visitor.send("POST", "/uploads/json", JSON, [b'{"a"', b": 1}"]).json["json"] == {"a": 1}
        assert visitor.send("POST", "/uploads/form", FORM, [b"a=1&", b"b=2"]).json == {"fields": 2, "first": ["a", "1"]}


def test_broken_json_and_wrong_type(both: Both) -> None:
    for visitor in both():
        assert visitor.send("POST", "/uploads/json", JSON, b"{").status == 400
        assert visitor.send("POST", "/uploads/json", FORM, b"{}").status == 415
        assert visitor.send("POST", "/uploads/json", JSON, json.dumps(["é", 1.0, None]).encode()).status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_body_beyond_the_limit_is_refused(both: Both, chunked: bool) -> None:
    body = b"x" * (MAX_CONTENT_BYTES + 1)
    for visitor in both():
        page = visitor.send("POST", "/uploads/stream", (), pieces(body) if chunked else body)

        assert page.status == 413


def test_body_below_the_limit_is_taken(both: Both) -> None:
    for visitor in both():
        # One byte less: at the limit itself Werkzeug refuses whoever reads on to see the end.
        assert visitor.send("POST", "/uploads/stream", (), b"x" * (MAX_CONTENT_BYTES - 1)).status == 200
        assert visitor.send("POST", "/uploads/stream", (), b"x" * MAX_CONTENT_BYTES).status == 413


def test_limit_of_one_view(both: Both) -> None:
    for visitor in both():
        below, beyond = (visitor.send("POST", "/uploads/limited", (), b"x" * size) for size in (10, 11))

        assert (below.status, beyond.status) == (200, 413)


def test_limit_of_one_view_cuts_a_body_in_chunks(both: Both) -> None:
    for visitor in both():
        assert visitor.send("POST", "/uploads/limited", (), [b"x" * 6] * 2).json == {"bytes": 10}


def test_forms_beyond_their_limits_are_refused(both: Both) -> None:
    for visitor in both():
        many = [field(f"f{number}", b"x") for number in range(MAX_FORM_PARTS + 1)]
        large = field("large", b"x" * (MAX_FORM_MEMORY_BYTES + 1))
        # Werkzeug knows no other limit than the body's for forms that are not multipart.
        urlencoded = b"&".join(b"f%d=%s" % (number, b"x" * 1000) for number in range(1000))

        assert visitor.send("POST", "/uploads/form", MULTIPART, parts(*many)).status == 413
        assert visitor.send("POST", "/uploads/form", MULTIPART, parts(*many[1:])).json["fields"] == MAX_FORM_PARTS
        assert visitor.send("POST", "/uploads/form", MULTIPART, parts(large)).status == 413
        assert visitor.send("POST", "/uploads/form", FORM, urlencoded).json["fields"] == 1000
        assert visitor.send("POST", "/uploads/form", FORM, urlencoded * 2).status == 413


def test_large_body_that_nobody_reads(both: Both) -> None:
    for visitor in both():
        assert visitor.send("POST", "/uploads/unread", (), b"x" * 60_000).status == 401
        assert visitor.get("/").status == 200


@pytest.mark.parametrize(("path", "body", "status"), [("stream", b"hello", b"200 "), ("unread", b"", b"401 ")])
def test_client_that_waits_for_100_continue_gets_it(both: Both, path: str, body: bytes, status: bytes) -> None:
    headers = "Host: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5"
    for visitor in both():
        with visitor.server.connect() as connection:
            connection.sendall(f"POST /uploads/{path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
            interim = read_bytes(connection, len(CONTINUE))
            connection.sendall(body)
            answer = read_bytes(connection, EVERYTHING)

        assert interim[: len(CONTINUE)] == CONTINUE
        assert (interim + answer)[len(CONTINUE) :].startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("rest", "outcome"),
    [
        (b"0\r\n\r\n", "read 5 bytes"),
        (b"", "did not read the body"),
        (b"5\r\nhel", "did not read the body"),
    ],
    ids=["complete", "between chunks", "in a chunk"],
)
def test_upload_that_breaks_off_is_not_taken_for_complete(both: Both, rest: bytes, outcome: str) -> None:
    request = b"POST /uploads/watched HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    for visitor in both():
        with visitor.server.connect() as connection:
            connection.sendall(request + rest)

        assert visitor.get("/uploads/outcome").text == outcome


def test_difference_upload_that_breaks_off_before_its_length_is_an_error(both: Both) -> None:
    request = b"POST /uploads/watched HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
    outcomes = []
    for server in (both.gunicorn, both.gateway):
        with server.connect() as connection:
            connection.sendall(request)
        outcomes.append(Visitor(server).get("/uploads/outcome").text)

    assert outcomes == ["read 5 bytes", "did not read the body"]
