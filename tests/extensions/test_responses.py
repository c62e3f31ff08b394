"""What Flask answers by itself: files and parts of them, errors, redirects, streams, cookies."""

import pytest

from tests.examples.session import HOST
from tests.extensions.apps.responses import FILE_BYTES
from tests.extensions.rules import expiry_date, in_header
from tests.extensions.visitors import Both

CONTENT = bytes(range(256)) * (FILE_BYTES // 256)
MODIFIED = "Thu, 29 Feb 2024 12:30:00 GMT"
EARLIER = "Thu, 29 Feb 2024 12:29:59 GMT"
freshness = in_header("expires", r"^\w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT$", "<date>")
FILES = pytest.mark.parametrize("path", ["/file", "/files/numbers.bin"])


@FILES
def test_file(both: Both, path: str) -> None:
    for visitor in both(freshness):
        whole, head = visitor.get(path), visitor.send("HEAD", path)

        assert (whole.status, whole.body) == (200, CONTENT)
        assert (whole["etag"], whole["last-modified"]) == ('"numbers"', MODIFIED)
        assert (head["content-length"], head.body) == (str(len(CONTENT)), b"")


@FILES
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (("If-None-Match", '"numbers"'), 304),
        (("If-None-Match", 'W/"numbers", "x"'), 304),
        (("If-None-Match", '"x"'), 200),
        (("If-None-Match", "*"), 304),
        (("If-Modified-Since", MODIFIED), 304),
        (("If-Modified-Since", EARLIER), 200),
        (("If-Match", '"x"'), 412),
        (("If-Match", '"numbers"'), 200),
    ],
)
def test_file_on_condition(both: Both, path: str, condition: tuple[str, str], status: int) -> None:
    for visitor in both(freshness):
        page = visitor.get(path, condition)

        assert page.status == status
        assert page.body == (CONTENT if status == 200 else b"" if status == 304 else page.body)


@FILES
@pytest.mark.parametrize(
    ("ranges", "part"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=1000-300999", CONTENT[1000:301_000]),
        ("bytes=699900-", CONTENT[699_900:]),
        ("bytes=-10", CONTENT[-10:]),
        ("bytes=0-9999999", CONTENT),
    ],
)
def test_part_of_a_file(both: Both, path: str, ranges: str, part: bytes) -> None:
    for visitor in both(freshness):
        page = visitor.get(path, ("Range", ranges))

        assert (page.status, page.body) == (206, part)
        assert page["content-length"] == str(len(part))
        assert visitor.send("HEAD", path, (("Range", ranges),))["content-range"] == page["content-range"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Range", "bytes=9999999-")], 416),
        ([("Range", "bytes=0-1,5-6")], 416),
        ([("Range", "lines=1-2")], 416),
        ([("Range", "bytes=0-9"), ("If-Range", '"numbers"')], 206),
        ([("Range", "bytes=0-9"), ("If-Range", '"x"')], 200),
        ([("Range", "bytes=0-9"), ("If-Range", MODIFIED)], 206),
    ],
)
def test_part_that_cannot_be_given(both: Both, headers: list[tuple[str, str]], status: int) -> None:
    for visitor in both(freshness):
        assert visitor.get("/file", *headers).status == status


def test_download_and_file_in_memory(both: Both) -> None:
    for visitor in both():
        download, memory = visitor.get("/file/download"), visitor.get("/file/memory")

        assert download["content-disposition"] == "attachment; filename=zahlen.bin; filename*=UTF-8''z%C3%A4hlen.bin"
        assert (download.body, memory.body) == (CONTENT, b"in memory")
        assert visitor.get("/files/../conftest.py").status == 404


def test_page_on_condition(both: Both) -> None:
    for visitor in both():
        fresh = visitor.get("/conditional", ("If-None-Match", '"ever"'))

        assert (fresh.status, fresh.body, fresh.header("content-length")) == (304, b"", None)
        assert visitor.get("/conditional").text == "the same as ever"


def test_cookies_and_repeated_headers(both: Both) -> None:
    for visitor in both(expiry_date):
        visitor.cookies["given"] = '"a\\073b"'
        page = visitor.get("/cookies")

        assert page.json == {"given": "a;b"}
        assert [cookie.partition("=")[0] for cookie in page.list_headers("set-cookie")] == ["plain", "strict", "old"]
        assert page.list_headers("link") == ["</a>; rel=preload", "</b>; rel=preload"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 422, 429, 451, 499, 500, 501, 503])
def test_aborted_request(both: Both, status: int) -> None:
    for visitor in both():
        assert visitor.get(f"/abort/{status}").status == status


def test_errors_go_to_their_handlers(both: Both) -> None:
    for visitor in both():
        sold_out, missing, wrong = visitor.get("/sold-out"), visitor.get("/nowhere"), visitor.post("/sold-out")
        broken = visitor.get("/broken")

        assert (sold_out.status, sold_out.json) == (409, {"sold out": "tickets"})
        assert (missing.status, missing.text) == (404, "nothing at /nowhere")
        assert (wrong.status, wrong.json["name"]) == (405, "Method Not Allowed")
        assert (broken.status, broken.json["name"]) == (500, "Internal Server Error")
        assert "secret" not in broken.text


def test_urls_are_those_of_the_client(both: Both) -> None:
    for visitor in both():
        urls = visitor.get("/urls/caf%C3%A9/a%20b?x=1").json

        assert urls == {
            "external": f"http://{HOST}/urls/caf%C3%A9/a%20b?q=a+b#%C3%BC",
            "https": f"https://{HOST}/urls/caf%C3%A9/a%20b",
            "relative": "/urls/caf%C3%A9/a%20b",
            "url": f"http://{HOST}/urls/café/a%20b?x=1",
            "base": f"http://{HOST}/urls/café/a%20b",
            "path": "/urls/café/a b?x=1",
        }
        assert visitor.get("/urls/a%2Fb%25").json["path"] == "/urls/a/b%?"


def test_redirects(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/slash?a=1")["location"] == f"http://{HOST}/slash/?a=1"
        assert visitor.get("/away")["location"] == "https://elsewhere.test/%C3%BCber?q=%C3%A9"
        assert visitor.get("/nothing").body == b""
        assert visitor.send("OPTIONS", "/file").status == 200


def test_streams(both: Both) -> None:
    for visitor in both():
        stream, events = visitor.get("/stream?name=ada"), visitor.get("/events")

        assert stream.text.splitlines() == [f"{number} ada" for number in range(1000)]
        assert events.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert visitor.send("HEAD", "/stream?name=ada").body == b""
