"""What the app is told about a request (hazards 26-30 and 36-40)."""

import json
from typing import Any

import pytest

from gateway.wsgi_environ import split_root
from tests.fidelity.bridges import either_bridge
from tests.fidelity.raw import build
from tests.fidelity.servers import Server

PATHS = [
    "/raw/echo",
    "/raw/echo/",
    "/raw/echo?",
    "/raw/echo?a=1&b=%C3%A9&c=%ff&d=a+b&e=%zz&&=?/",
    "/raw/echo/caf%C3%A9/%E2%82%AC/%F0%9F%98%80",
    "/raw/echo/a%2Fb%252Fc%20d+e;f=1,2/%zz/%/%4",
    "/raw/echo//a///b/./../c",
    "/raw/echo/a%00b%7F%01",
    "/raw/echo/~!$&'()*+,;=:@-._",
]
# What uvicorn decodes from UTF-8, and cannot encode again.
NOT_UTF8 = ["/raw/echo/%FF", "/raw/echo/%c0%af/%80", "/raw/echo/%ed%a0%80", "/raw/echo/%C3%28%E9"]
WITH_NEWLINES = ["/raw/echo/a%0Ab", "/raw/echo/a%0A", "/raw/echo/%0D%0A/x", "/raw/echo%0A", "/echo/a%0Ab", "/x%0Ay"]


@either_bridge()
def test_environ_has_the_same_keys_and_values(gunicorn: Server, mounted: Server) -> None:
    request = build(
        "POST",
        "/echo/path?query=1",
        [("Content-Type", "text/plain"), ("Accept", "*/*"), ("Cookie", "a=1; b=2"), ("X-Custom-Name", "value")],
        b"body",
    )

    assert mounted.exchange(request) == gunicorn.exchange(request)


@pytest.mark.parametrize("target", PATHS)
def test_target_is_handed_over_as_by_gunicorn(gunicorn: Server, gateway: Server, target: str) -> None:
    assert echo(gateway, target) == echo(gunicorn, target)


def echo(server: Server, target: str, **headers: str) -> dict[str, Any]:
    answer = server.exchange(build("GET", target, headers.items())).answer
    assert answer is not None
    assert answer.status == 200, answer
    shown: dict[str, Any] = json.loads(answer.body)
    return shown


@pytest.mark.parametrize("target", NOT_UTF8)
def test_path_that_is_no_utf8_keeps_its_bytes(gunicorn: Server, gateway: Server, target: str) -> None:
    assert echo(gateway, target) == echo(gunicorn, target)


@pytest.mark.parametrize("target", WITH_NEWLINES)
def test_newline_in_a_path_is_left_to_the_app(gunicorn: Server, gateway: Server, target: str) -> None:
    request = build("GET", target)

    assert gateway.exchange(request) == gunicorn.exchange(request)


@either_bridge()
def test_target_is_there_as_it_was_sent(gunicorn: Server, mounted: Server) -> None:
    target = "/raw/echo/a%2Fb/%e9?x=%2f&y"

    assert echo(mounted, target).get("RAW_URI") == echo(gunicorn, target)["RAW_URI"] == target


def test_repeated_headers_are_joined(gunicorn: Server, gateway: Server) -> None:
    headers = [("X-Tag", "a"), ("Accept", "b"), ("x-tag", ""), ("X-TAG", "c, d"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    request = build("GET", "/raw/echo", headers)

    assert gateway.exchange(request) == gunicorn.exchange(request)


def test_headers_beyond_ascii_are_latin_1(gunicorn: Server, gateway: Server) -> None:
    request = build("GET", "/raw/echo", [("X-Name", "caf\xe9 \xff\x80"), ("X-Tab", "a\tb")])

    assert gateway.exchange(request) == gunicorn.exchange(request)


@either_bridge()
def test_errors_are_written_to_stderr(gunicorn: Server, mounted: Server) -> None:
    expected = {"stdout": [""], "stderr": ["written to wsgi.errors\n"]}

    assert mounted.get("/errors") == gunicorn.get("/errors") == expected


def test_early_hints_may_be_given(gunicorn: Server, gateway: Server) -> None:
    """Differs: gunicorn sends them. See docs/fidelity.md."""
    answers = [server.exchange(build("GET", "/hints")).answer for server in (gunicorn, gateway)]

    assert [(answer.body, answer.interim) for answer in answers if answer is not None] == [
        (b"hinted", (103,)),
        (b"hinted", ()),
    ]


FILE_REQUESTS = {
    "whole": (),
    "first bytes": (("Range", "bytes=0-99"),),
    "last bytes": (("Range", "bytes=-100"),),
    "middle": (("Range", "bytes=1000-1999"),),
    "beyond": (("Range", "bytes=1000000-"),),
    "several": (("Range", "bytes=0-1,5-6"),),
    "unchanged": (("If-Modified-Since", "Thu, 31 Dec 2099 00:00:00 GMT"),),
    "other etag": (("If-None-Match", '"other"'),),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", FILE_REQUESTS)
def test_file_and_its_ranges_are_sent_alike(gunicorn: Server, gateway: Server, kind: str, method: str) -> None:
    request = build(method, "/file", FILE_REQUESTS[kind])

    assert gateway.exchange(request, method=method) == gunicorn.exchange(request, method=method)


def test_script_name_is_taken_from_no_header(gunicorn: Server, gateway: Server) -> None:
    """Differs: gunicorn believes whom it takes for a proxy. See docs/fidelity.md."""
    roots = [echo(server, "/raw/echo/x", SCRIPT_NAME="/raw")["SCRIPT_NAME"] for server in (gunicorn, gateway)]

    assert roots == ["/raw", "/raw/echo"]


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/api", "/api/echo", ("/api", "/echo")),
        ("/api", "/api", ("/api", "")),
        ("/api", "/apiecho", ("/api", "/apiecho")),
        ("/api/", "/api/echo", ("/api", "/echo")),
        ("", "/api", ("", "/api")),
        ("/", "/api", ("", "/api")),
    ],
)
def test_root_path_ends_at_a_slash(root: str, path: str, expected: tuple[str, str]) -> None:
    """Not as gunicorn, whose SCRIPT_NAME is a mere prefix: `/apiecho` would reach what a guard of `/api/` hides."""
    assert split_root(root, path) == expected
