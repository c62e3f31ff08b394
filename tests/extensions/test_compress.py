"""Flask-Compress."""

import gzip
from collections.abc import Callable

import brotli
import pytest

from tests.examples.comparison import gzip_clock
from tests.extensions.apps.compress import TEXT
from tests.extensions.visitors import Both

Decompress = Callable[[bytes], bytes]
CODINGS = pytest.mark.parametrize(("coding", "decompress"), [("gzip", gzip.decompress), ("br", brotli.decompress)])


@CODINGS
def test_page_is_compressed(both: Both, coding: str, decompress: Decompress) -> None:
    for visitor in both(gzip_clock):
        page = visitor.get("/compressed/page", ("Accept-Encoding", coding))

        assert page.header("content-encoding") == coding
        assert page["vary"] == "Accept-Encoding"
        assert page["content-length"] == str(len(page.body))
        assert decompress(page.body).decode() == TEXT


@CODINGS
def test_stream_is_compressed_without_a_length(both: Both, coding: str, decompress: Decompress) -> None:
    for visitor in both():
        page = visitor.get("/compressed/stream", ("Accept-Encoding", coding))

        assert (page.header("content-encoding"), page.header("content-length")) == (coding, None)
        assert decompress(page.body).decode() == TEXT


@CODINGS
def test_head_has_the_headers_of_get(both: Both, coding: str, decompress: Decompress) -> None:
    for visitor in both(gzip_clock):
        head = visitor.send("HEAD", "/compressed/page", (("Accept-Encoding", coding),))
        page = visitor.get("/compressed/page", ("Accept-Encoding", coding))

        assert head.body == b""
        for name in ("content-encoding", "content-length", "etag", "vary"):
            assert head[name] == page[name]


def test_each_coding_has_an_etag_of_its_own(both: Both) -> None:
    for visitor in both(gzip_clock):
        plain = visitor.get("/compressed/page")
        packed = visitor.get("/compressed/page", ("Accept-Encoding", "gzip"))
        fresh = visitor.get("/compressed/page", ("Accept-Encoding", "gzip"), ("If-None-Match", packed["etag"]))

        assert packed["etag"] == f'{plain["etag"][:-1]}:gzip"'
        assert (fresh.status, fresh.body, fresh["etag"]) == (304, b"", packed["etag"])


def test_preferred_coding_is_chosen(both: Both) -> None:
    for visitor in both(gzip_clock):
        best = visitor.get("/compressed/page", ("Accept-Encoding", "gzip;q=0.5, br;q=0.9, *;q=0.1"))
        none = visitor.get("/compressed/page", ("Accept-Encoding", "identity"))

        assert (best.header("content-encoding"), none.header("content-encoding")) == ("br", None)
        assert none.text == TEXT


@pytest.mark.parametrize("path", ["small", "picture", "missing"])
def test_what_is_not_worth_compressing_is_left(both: Both, path: str) -> None:
    for visitor in both():
        assert visitor.get(f"/compressed/{path}", ("Accept-Encoding", "gzip, br")).header("content-encoding") is None
