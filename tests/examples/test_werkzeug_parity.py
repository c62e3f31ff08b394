"""The example's parsers agree with Werkzeug's on whatever they are given."""

import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from werkzeug.formparser import FormDataParser
from werkzeug.http import dump_cookie, parse_options_header
from werkzeug.sansio.http import parse_cookie
from werkzeug.sansio.utils import get_current_url, get_host
from werkzeug.urls import iri_to_uri
from werkzeug.wrappers import Request

from examples.httpbin.body import parse_body
from examples.httpbin.cookies import parse_cookies, set_cookie
from examples.httpbin.options import parse_options
from examples.httpbin.query import group_pairs, parse_pairs
from examples.httpbin.urls import quote_location, readable_url, valid_host

PARITY = settings(derandomize=True, deadline=None, max_examples=500, database=None)


def joined(*pieces: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=14).map("".join)


OPTIONS = joined(*'a=;"\\ \t/é', "; ", "name=", "%22", "*=", "utf-8''%C3%A9", '\\"', '"b"')
COOKIES = joined(*'ab=;"\\ \té,', "; ", "\\073", "\\303\\251", '="x y"')
# Without the six control characters that Werkzeug forgets to escape, so that gunicorn refuses to send the cookie.
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(0x1A, 0x20)]))
QUERIES = joined(*"a=&+;%?/[|<", "%ff", "%C3%A9", "%26", "%2B", "%zz", "%00", "%41")
PATHS = joined(*'/aé%?#&=+;\\ ^["', "%41", "%C3%A9", "\x7f", "\x01").map(lambda path: "/" + path.lstrip("/"))
HOSTS = st.sampled_from(
    ["a.test", "A.test", "a:80", "a:443", "a:8000", "a:0", "a:99999", "[::1]:5", "a_b", "é", "", "xn--caf-dma.test"]
)
MULTIPART = joined(
    *["--X", "\r\n", "\n", "\r", "--", "-", "v", " ", "\r\n\r\n", "--X\r\n", "\r\n--X", "\r\n--X\r\n", "\r\n--X--\r\n"],
    'Content-Disposition: form-data; name="a"',
    'Content-Disposition: form-data; name="b"; filename="f"\r\nContent-Type: image/png',
    '--X\r\nContent-Disposition: form-data; name="c"\r\n\r\nv\r\n',
    "\r\nContent-Type: text/plain; charset=iso-8859-1",
    "\xe9",
)


@PARITY
@given(OPTIONS)
def test_options(header: str) -> None:
    assert parse_options(header) == parse_options_header(header)


@PARITY
@given(COOKIES)
def test_cookies_read(header: str) -> None:
    assert group_pairs(parse_cookies(header)) == parse_cookie(header).to_dict(flat=False)


@PARITY
@given(VALUES, st.booleans())
def test_cookies_written(value: str, secure: bool) -> None:
    response = Response()

    set_cookie(response, "name", value, secure=secure)

    assert response.headers["set-cookie"] == dump_cookie("name", value, secure=secure, max_size=0)


@PARITY
@given(QUERIES)
def test_query(query: str) -> None:
    assert group_pairs(parse_pairs(query)) == Request({"QUERY_STRING": query}).args.to_dict(flat=False)


@PARITY
@given(st.sampled_from(["http", "https"]), HOSTS, PATHS, QUERIES)
def test_url(scheme: str, host: str, path: str, query: str) -> None:
    url = get_current_url(scheme, get_host(scheme, host), "", path, query.encode())

    assert readable_url(scheme, valid_host(scheme, host), path, query.encode()) == url


@PARITY
@given(PATHS, QUERIES)
def test_location(path: str, query: str) -> None:
    assert quote_location(f"{path}?{query}") == iri_to_uri(f"{path}?{query}")


@PARITY
@given(MULTIPART)
def test_multipart(text: str) -> None:
    body = text.encode("latin-1")
    parser = FormDataParser(lambda *args, **kwargs: io.BytesIO(), max_form_memory_size=500_000, max_form_parts=1_000)
    _, form, files = parser.parse(io.BytesIO(body), "multipart/form-data", len(body), {"boundary": "X"})

    parsed = parse_body("multipart/form-data; boundary=X", body)

    assert group_pairs(parsed.form) == form.to_dict(flat=False)
    assert group_pairs((part.name, as_tuple(part)) for part in parsed.files) == {
        name: [as_tuple(file) for file in group] for name, group in files.to_dict(flat=False).items()
    }


def as_tuple(file: Any) -> Any:
    return file.filename, file.content_type, file.content if hasattr(file, "content") else file.read()
