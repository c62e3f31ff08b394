import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import wsgi_environ
from gateway.wsgi_environ import FILE_BLOCK_BYTES, FileWrapper, base_environ, build_environ, split_root
from tests.gateway.apps import http_scope

BASE = base_environ(multiprocess=False, server_software="gunicorn/1")


def environ_of(method: str, target: str, *, remove: str = "", **changes: Any) -> dict[str, Any]:
    headers, root_path = changes.pop("headers", ()), changes.pop("root_path", "")
    scope = {**http_scope(method, target, headers=headers, root_path=root_path), **changes}
    scope.pop(remove, None)
    return build_environ(scope, BASE)


def test_environ_has_what_pep_3333_asks_for_and_gunicorn_adds() -> None:
    scope = http_scope("POST", "/a%2Fb?c=d", headers=[("Content-Type", "text/plain"), ("X-Name", "\xe9")])

    assert build_environ(scope, BASE) == {
        **BASE,
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "c=d",
        "RAW_URI": "/a%2Fb?c=d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "gateway.test",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "50000",
        "HTTP_HOST": "gateway.test",
        "CONTENT_TYPE": "text/plain",
        "HTTP_X_NAME": "\xe9",
        "wsgi.url_scheme": "http",
        "asgi.scope": scope,
    }


@pytest.mark.parametrize("multiprocess", [True, False])
def test_number_of_processes_is_told(multiprocess: bool) -> None:
    base = base_environ(multiprocess=multiprocess, server_software="")

    assert (base["wsgi.multiprocess"], base["wsgi.multithread"], base["wsgi.run_once"]) == (multiprocess, True, False)


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw_path", "path_info"),
    [
        (b"/caf%C3%A9", "/caf\xc3\xa9"),
        (b"/%FF%c0%af", "/\xff\xc0\xaf"),
        (b"/%zz%", "/%zz%"),
        (b"//a//b/../", "//a//b/../"),
        (b"/%0A", "/\n"),
        (b"*", "*"),
    ],
)
def test_path_has_the_bytes_that_were_sent(raw_path: bytes, path_info: str) -> None:
    environ = environ_of("GET", "/", raw_path=raw_path, path="/whatever uvicorn made of it")

    assert environ["PATH_INFO"] == path_info


def test_path_alone_serves_where_a_server_gives_no_raw_one() -> None:
    environ = environ_of("GET", "/", remove="raw_path", path="/caf\xe9/a b")

    assert environ["PATH_INFO"] == "/caf\xc3\xa9/a b"
    assert environ["RAW_URI"] == "/caf%C3%A9/a%20b"


def test_target_that_the_server_kept_is_handed_on() -> None:
    assert environ_of("GET", "/a", raw_uri="http://host/a?")["RAW_URI"] == "http://host/a?"


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/api/x", ("", "/api/x")),
        ("/api", "/api/x", ("/api", "/x")),
        ("/api", "/api", ("/api", "")),
        ("/api/", "/api/x", ("/api", "/x")),
        ("/api", "/apis", ("/api", "/apis")),
        ("/api", "/x", ("/api", "/x")),
        ("/caf\xe9", "/caf\xc3\xa9/x", ("/caf\xc3\xa9", "/x")),
    ],
)
def test_root_path_counts_up_to_a_slash(root: str, path: str, expected: tuple[str, str]) -> None:
    assert split_root(root, path) == expected


def test_root_path_is_the_script_name() -> None:
    environ = environ_of("GET", "/x%2Fy", root_path="/api")

    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["RAW_URI"]) == ("/api", "/x/y", "/api/x%2Fy")


# --- headers ---------------------------------------------------------------------------------------------------------


def test_repeated_headers_are_joined_in_their_order() -> None:
    environ = environ_of("GET", "/", headers=[("X-A", "1"), ("X-B", "2"), ("X-A", ""), ("x-a", "3")])

    assert (environ["HTTP_X_A"], environ["HTTP_X_B"]) == ("1,,3", "2")


def test_header_that_looks_like_a_content_length_is_none() -> None:
    environ = environ_of("POST", "/", headers=[("content_length", "5"), ("content_type", "a/b")])

    assert (environ["HTTP_CONTENT_LENGTH"], environ["HTTP_CONTENT_TYPE"]) == ("5", "a/b")
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ


def test_no_header_becomes_a_variable_of_the_server() -> None:
    environ = environ_of("GET", "/", headers=[("wsgi.input", "x"), ("remote-addr", "x"), ("script-name", "x")])

    assert (environ["REMOTE_ADDR"], environ["SCRIPT_NAME"]) == ("192.0.2.7", "")
    assert "wsgi.input" not in environ


def test_names_that_clients_invent_are_not_remembered_without_end() -> None:
    for number in range(2 * wsgi_environ.MAX_REMEMBERED_NAMES):
        environ_of("GET", "/", headers=[(f"x-{number}", "a")])

    assert len(wsgi_environ._names) <= wsgi_environ.MAX_REMEMBERED_NAMES


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "scheme", "expected"),
    [
        ("a.test", "http", ("a.test", "80")),
        ("a.test", "https", ("a.test", "443")),
        ("a.test:81", "http", ("a.test", "81")),
        ("", "http", ("", "")),
    ],
)
def test_unix_socket_has_the_address_that_the_client_asked_for(
    host: str, scheme: str, expected: tuple[str, str]
) -> None:
    environ = environ_of(
        "GET", "/", headers=[("Host", host)], client=None, server=("/run/gateway.sock", None), scheme=scheme
    )

    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


def test_server_that_is_unknown_gets_a_name_all_the_same() -> None:
    environ = environ_of("GET", "/", server=None)

    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")


# --- what comes with it ----------------------------------------------------------------------------------------------


def test_errors_go_to_what_stderr_is_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = BASE["wsgi.errors"]
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    errors.write("a\n")
    errors.writelines(["b\n", "c\n"])
    errors.flush()

    assert sys.stderr.getvalue() == "a\nb\nc\n"  # type: ignore[attr-defined]


def test_early_hints_may_be_given() -> None:
    assert BASE["wsgi.early_hints"]([("Link", "</style.css>")]) is None


def test_file_is_wrapped_in_blocks_worth_sending(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(FILE_BLOCK_BYTES + 1))
    with path.open("rb") as file:
        assert [len(block) for block in FileWrapper(file, 8192)] == [FILE_BLOCK_BYTES, 1]


def test_pipe_is_wrapped_in_the_blocks_that_were_asked_for() -> None:
    """A block that is not full yet would be waited for."""
    reader, writer = os.pipe()
    with open(reader, "rb") as file, open(writer, "wb", buffering=0) as sink:
        sink.write(b"one\ntwo\n")

        assert next(FileWrapper(file, 4)) == b"one\n"


def test_wrapped_file_can_be_indexed_and_closed() -> None:
    file = io.BytesIO(b"abc")
    wrapper = FileWrapper(file)

    assert wrapper[0] == b"abc"
    with pytest.raises(IndexError):
        wrapper[1]
    wrapper.close()
    assert file.closed


def test_wrapped_file_without_a_close_has_none() -> None:
    class Readable:
        def read(self, size: int = -1, /) -> bytes:
            return b""

    assert not hasattr(FileWrapper(Readable()), "close")
