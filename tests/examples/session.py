"""One client's session with httpbin, request by request, to be sent to whoever claims to answer as httpbin does."""

import http.client
from collections.abc import Iterable
from dataclasses import dataclass

from tests.examples.comparison import (
    Answer,
    Rule,
    drawn_status,
    gzip_clock,
    modified_now,
    random_bytes,
    random_etag,
    random_nonce,
    random_uuid,
)

# Sent to every server, so that the URLs in its answers are the same.
HOST = "httpbin.test"
TIMEOUT_S = 15.0

Headers = tuple[tuple[str, str], ...]

FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"),)
JSON: Headers = (("Content-Type", "application/json"),)
TEXT: Headers = (("Content-Type", "text/plain"),)
MULTIPART: Headers = (("Content-Type", "multipart/form-data; boundary=XX"),)


@dataclass(frozen=True)
class Call:
    name: str
    method: str
    target: str
    """Goes on the request line as it is."""
    headers: Headers = ()
    body: bytes = b""
    rules: tuple[Rule, ...] = ()


def parts(*contents: bytes) -> bytes:
    return b"".join(b"--XX\r\n" + content + b"\r\n" for content in contents) + b"--XX--\r\n"


def field(name: str, value: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value


def file(name: str, filename: str, content_type: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return f"{disposition}\r\nContent-Type: {content_type}\r\n\r\n".encode() + content


ARGUMENTS = [
    Call("get", "GET", "/get"),
    Call("get with arguments", "GET", "/get?b=2&a=1", (("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"))),
    Call("get with a repeated argument", "GET", "/get?a=1&b=2&a=3&a=1"),
    Call("get with blank arguments", "GET", "/get?a=&b&=c&&d=="),
    Call("get with escaped arguments", "GET", "/get?caf%C3%A9=na%C3%AFve+%2B%26%3D%3d&plus=1+2&emoji=%F0%9F%98%80"),
    Call("get with arguments that are not UTF-8", "GET", "/get?a=%ff%fe&%C3=1&b=%C3%28"),
    Call("get with broken escapes", "GET", "/get?a=%&b=%zz&c=%4&d=%u0041"),
    Call("get with a semicolon", "GET", "/get?a=1;b=2&c=3"),
    Call("get with characters that a URL should not have", "GET", "/get?a=<b>\"'`{|}\\^[]&b=%00%1f%7f%20"),
    Call("get with a question mark in the query", "GET", "/get?a=/?b=//c?#"),
    Call("get with a body", "GET", "/get", FORM, b"a=1"),
    Call("get with HTML in an argument", "GET", "/get?a=%3Cscript%3Ealert(1)%3C/script%3E"),
    Call("get by HEAD", "HEAD", "/get?a=1"),
    Call("get by OPTIONS", "OPTIONS", "/get"),
    Call("get by POST", "POST", "/get", FORM, b"a=1"),
    Call("get by DELETE", "DELETE", "/get"),
    Call("get by TRACE", "TRACE", "/get"),
]

CORS = [
    Call("get with an origin", "GET", "/get", (("Origin", "https://front.test"),)),
    Call("not found with an origin", "GET", "/nope", (("Origin", "https://front.test"),)),
    Call("an internal error with an origin", "GET", "/redirect/0", (("Origin", "https://front.test"),)),
    Call(
        "preflight",
        "OPTIONS",
        "/put",
        (
            ("Origin", "https://front.test"),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "content-type, x-token"),
        ),
    ),
    Call("preflight of anything", "OPTIONS", "/anything/a/b", (("Origin", "null"),)),
    Call("preflight of a path that is nowhere", "OPTIONS", "/nope", (("Origin", "null"),)),
]

INSPECTION = [
    Call("headers", "GET", "/headers", (("User-Agent", "session/1.0"), ("Accept", "text/html;q=0.9, */*;q=0.1"))),
    Call("headers that repeat", "GET", "/headers", (("X-Tag", "a"), ("Accept", "*/*"), ("x-tag", "b"), ("X-TAG", ""))),
    Call("headers in odd cases", "GET", "/headers", (("x-3d-FOO", "1"), ("DNT", "1"), ("eTAG", "2"), ("x-a-1b", "3"))),
    Call("headers with blanks", "GET", "/headers", (("X-Empty", ""), ("X-Spaces", "  a  b  "), ("Content-Type", ""))),
    Call("headers beyond ASCII", "GET", "/headers", (("X-Name", "caf\xe9 \xff"),)),
    Call("headers of proxies", "GET", "/headers", (("Via", "1.1 x"), ("X-Real-Ip", "10.0.0.9"), ("X-Varnish", "1"))),
    Call("headers of proxies on demand", "GET", "/headers?show_env=1", (("Via", "1.1 x"), ("X-Varnish", "1"))),
    Call("headers with an explicit length", "GET", "/headers", (("Content-Length", "0"),)),
    Call("headers by HEAD", "HEAD", "/headers"),
    Call("ip", "GET", "/ip"),
    Call("ip by HEAD", "HEAD", "/ip"),
    Call("ip behind a proxy", "GET", "/ip", (("X-Forwarded-For", "203.0.113.7, 10.0.0.1"),)),
    Call("user agent", "GET", "/user-agent", (("User-Agent", "Mozilla/5.0 (X11; Linux) \xe9"),)),
    Call("no user agent", "GET", "/user-agent"),
    Call("user agent by HEAD", "HEAD", "/user-agent", (("User-Agent", "session/1.0"),)),
    Call("get behind TLS", "GET", "/get?a=1", (("X-Forwarded-Proto", "https"),)),
    Call("get behind an old proxy", "GET", "/get?a=1", (("X-Forwarded-Protocol", "https"),)),
]

FORMS = [
    Call("form", "POST", "/post?a=0", FORM, b"a=1&b=2"),
    Call("form with repeated and blank fields", "POST", "/post", FORM, b"a=1&a=&b&=x&a=2"),
    Call("form with escapes", "POST", "/post", FORM, b"caf%C3%A9=%ff&plus=1+2&raw=\xc3\xa9&broken=%zz"),
    Call("form that is not UTF-8", "POST", "/post", FORM, b"a=\xff"),
    Call("form with a charset", "POST", "/post", (("Content-Type", FORM[0][1] + "; charset=latin-1"),), b"a=%e9"),
    Call("form in upper case", "POST", "/post", (("Content-Type", FORM[0][1].upper()),), b"a=1"),
    Call("form without a content type", "POST", "/post", (), b"a=1"),
    Call("form with very many fields", "POST", "/post", FORM, b"&".join(b"a%d=%d" % (i, i) for i in range(1100))),
    Call("empty form", "POST", "/post", (*FORM, ("Content-Length", "0"))),
    Call("multipart", "POST", "/post", MULTIPART, parts(field("a", b"1"), field("b", b""), field("a", b"caf\xc3\xa9"))),
    Call(
        "multipart with files",
        "POST",
        "/post",
        MULTIPART,
        parts(
            field("a", b"1"),
            file("text", "a.txt", "text/plain; charset=utf-8", b"line 1\r\nline 2\r\n"),
            file("image", "a.png", "image/png", b"\x89PNG\r\n\x1a\n\xff"),
            file("text", "b.txt", "text/plain", b"not shown: the first file of a name counts"),
            file("unnamed", "", "application/octet-stream", b""),
        ),
    ),
    Call("multipart in latin-1", "POST", "/post", MULTIPART, parts(field("a", b"caf\xe9"))),
    Call(
        "multipart in declared latin-1",
        "POST",
        "/post",
        MULTIPART,
        parts(
            b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9'
        ),
    ),
    Call(
        "multipart with odd names",
        "POST",
        "/post",
        MULTIPART,
        parts(
            field('quote\\"', b"1"),
            field("percent%22", b"2"),
            b"content-disposition: form-data; NAME=token\r\n\r\n3",
            b"Content-Disposition: form-data; name*=utf-8''caf%C3%A9\r\n\r\n4",
            b"Content-Disposition: form-data;\r\n name=folded\r\n\r\n5",
        ),
    ),
    Call("multipart with bare line feeds", "POST", "/post", MULTIPART, parts(field("a", b"1")).replace(b"\r\n", b"\n")),
    Call("multipart around it", "POST", "/post", MULTIPART, b"before\r\n" + parts(field("a", b"1")) + b"after"),
    Call(
        "multipart without a boundary",
        "POST",
        "/post",
        (("Content-Type", "multipart/form-data"),),
        parts(field("a", b"")),
    ),
    Call("multipart with another boundary", "POST", "/post", MULTIPART, b"--YY\r\n\r\n--YY--\r\n"),
    Call("multipart cut short", "POST", "/post", MULTIPART, parts(field("a", b"1"), field("b", b"2"))[:-10]),
    Call("multipart without a disposition", "POST", "/post", MULTIPART, parts(b"X-Other: form-data\r\n\r\n1")),
    Call("multipart without a name", "POST", "/post", MULTIPART, parts(b"Content-Disposition: form-data\r\n\r\n1")),
    Call("multipart without parts", "POST", "/post", MULTIPART, b"--XX--\r\n"),
    Call("multipart with a field beyond the limit", "POST", "/post", MULTIPART, parts(field("a", b"x" * 500_001))),
    Call("multipart with too many parts", "POST", "/post", MULTIPART, parts(*[field("a", b"")] * 1001)),
    Call("put a form", "PUT", "/put", FORM, b"a=1"),
    Call("patch with a form", "PATCH", "/patch", FORM, b"a=1"),
    Call("delete with a form", "DELETE", "/delete", FORM, b"a=1"),
]

DATA = [
    Call("post nothing", "POST", "/post"),
    Call("post nothing of length 0", "POST", "/post", (("Content-Length", "0"),)),
    Call("post JSON", "POST", "/post", JSON, b'{"b": [1, 1.0, true, null, "1"], "a": {"z": -0.0, "y": 1e400}}'),
    Call("post JSON beyond ASCII", "POST", "/post", JSON, '{"é": "😀", "s": "\\ud800", "html": "</script>"}'.encode()),
    Call("post JSON with repeated keys", "POST", "/post", JSON, b'{"a": 1, "a": 2}'),
    Call("post JSON with NaN", "POST", "/post", JSON, b"[NaN, Infinity, -Infinity, 12345678901234567890123]"),
    Call("post a JSON string", "POST", "/post", JSON, b' "text" '),
    Call("post invalid JSON", "POST", "/post", JSON, b'{"a": 1,}'),
    Call("post JSON with a byte order mark", "POST", "/post", JSON, b'\xef\xbb\xbf{"a": 1}'),
    Call("post JSON as text", "POST", "/post", TEXT, b'{"a": 1}'),
    Call("post text", "POST", "/post", TEXT, "línea 1\r\nlínea 2\t\x00".encode()),
    Call("post bytes", "POST", "/post", (("Content-Type", "application/octet-stream"),), bytes(range(256))),
    Call("post half a megabyte", "POST", "/post", TEXT, b"0123456789abcdef" * 32_768),
    Call("post after asking to continue", "POST", "/post", (*TEXT, ("Expect", "100-continue")), b"text"),
    Call("put JSON", "PUT", "/put", JSON, b'{"a": 1}'),
    Call("patch with JSON", "PATCH", "/patch?x=1", JSON, b"[]"),
    Call("delete", "DELETE", "/delete?a=1"),
    Call("delete with text", "DELETE", "/delete", TEXT, b"text"),
    Call("post by GET", "GET", "/post"),
    Call("post by HEAD", "HEAD", "/post"),
    Call("post by OPTIONS", "OPTIONS", "/post"),
]

ANYTHING = [
    Call("anything", "GET", "/anything?a=1"),
    Call("anything by HEAD", "HEAD", "/anything"),
    Call("anything by POST", "POST", "/anything", FORM, b"a=1"),
    Call("anything by PUT", "PUT", "/anything", JSON, b'{"a": 1}'),
    Call("anything by DELETE", "DELETE", "/anything"),
    Call("anything by PATCH", "PATCH", "/anything", TEXT, b"text"),
    Call("anything by TRACE", "TRACE", "/anything"),
    Call("anything by OPTIONS", "OPTIONS", "/anything"),
    Call("anything below", "GET", "/anything/a/b.c/d"),
    Call("anything below by HEAD", "HEAD", "/anything/a"),
    Call("anything below by POST", "POST", "/anything/a", MULTIPART, parts(file("f", "f", "image/gif", b"GIF\xff"))),
    Call("anything below by PUT", "PUT", "/anything/a", TEXT, b"text"),
    Call("anything below by DELETE", "DELETE", "/anything/a"),
    Call("anything below by PATCH", "PATCH", "/anything/a"),
    Call("anything below by TRACE", "TRACE", "/anything/a"),
    Call("anything below with escapes", "GET", "/anything/caf%C3%A9/%F0%9F%98%80/%20/%25/%3F%23/%2e%2E/a%2Fb/%FF;p=1"),
    Call("anything below with odd characters", "GET", "/anything/a:b@c!$&'()*+,;=~-._/<>\"{}|\\^`[]"),
    Call("anything below with dots", "GET", "/anything/./a/../b"),
    Call("anything below, ending in a slash", "GET", "/anything/a/"),
    Call("anything below nothing", "GET", "/anything/"),
    Call("anything below two slashes", "GET", "/anything//a?b=%26&c=<\"'>"),
    Call("anything below with slashes to merge", "GET", "/anything/a//b"),
]

STATUS = [
    Call("status 200", "GET", "/status/200"),
    Call("status 200 by HEAD", "HEAD", "/status/200"),
    Call("status 201 by POST", "POST", "/status/201", JSON, b"{}"),
    Call("status 202 by PUT", "PUT", "/status/202"),
    Call("status 204 by DELETE", "DELETE", "/status/204"),
    Call("status 409 by PATCH", "PATCH", "/status/409"),
    Call("status 200 by TRACE", "TRACE", "/status/200"),
    Call("status by OPTIONS", "OPTIONS", "/status/200"),
    *[Call(f"status {code}", "GET", f"/status/{code}") for code in (205, 206, 299, 300, 301, 302, 303, 304, 305, 307)],
    *[Call(f"status {code}", "GET", f"/status/{code}") for code in (308, 400, 401, 402, 404, 406, 407, 418, 500, 503)],
    Call("status 418 by HEAD", "HEAD", "/status/418"),
    Call("status 304 by HEAD", "HEAD", "/status/304"),
    Call("status drawn", "GET", "/status/200:3,500:1", rules=(drawn_status(200, 500),)),
    Call("status drawn without weights", "GET", "/status/400,404", rules=(drawn_status(400, 404),)),
    Call("status drawn with one chance", "GET", "/status/200:0,418:1"),
    Call("status drawn with no chance", "GET", "/status/200:0,500:0"),
    Call("status that is a word", "GET", "/status/abc"),
    Call("status that is a word by POST", "POST", "/status/abc"),
    Call("status that is empty", "GET", "/status/"),
    Call("status with a weight for one", "GET", "/status/200:1"),
    Call("status with a bad weight", "GET", "/status/200:x,500"),
    Call("status with two weights", "GET", "/status/200:1:2,500"),
    Call("status among commas", "GET", "/status/200,"),
    Call("status with a sign and a space", "GET", "/status/%20+2_04"),
]

REDIRECTS = [
    Call("redirect", "GET", "/redirect/1"),
    Call("redirect three times", "GET", "/redirect/3"),
    Call("redirect absolutely on demand", "GET", "/redirect/3?absolute=True"),
    Call("redirect once absolutely on demand", "GET", "/redirect/1?absolute=true"),
    Call("redirect by HEAD", "HEAD", "/redirect/2"),
    Call("redirect by POST", "POST", "/redirect/2"),
    Call("redirect no times", "GET", "/redirect/0"),
    Call("redirect no times by HEAD", "HEAD", "/redirect/0"),
    Call("redirect a word of times", "GET", "/redirect/two"),
    Call("redirect a negative number of times", "GET", "/redirect/-1"),
    Call("redirect half a time", "GET", "/redirect/0.5"),
    Call("redirect with leading zeros", "GET", "/redirect/007"),
    Call("relative redirect", "GET", "/relative-redirect/3"),
    Call("last relative redirect", "GET", "/relative-redirect/1"),
    Call("no relative redirect", "GET", "/relative-redirect/0"),
    Call("relative redirect by HEAD", "HEAD", "/relative-redirect/2"),
    Call("absolute redirect", "GET", "/absolute-redirect/3"),
    Call("last absolute redirect", "GET", "/absolute-redirect/1"),
    Call("absolute redirect by HEAD", "HEAD", "/absolute-redirect/2"),
]

COOKIES = [
    Call("cookies", "GET", "/cookies", (("Cookie", "b=2; a=1"),)),
    Call("no cookies", "GET", "/cookies"),
    Call("cookies by HEAD", "HEAD", "/cookies", (("Cookie", "a=1"),)),
    Call("cookies that repeat", "GET", "/cookies", (("Cookie", "a=1; a=2; b=3; a="),)),
    Call("cookies in two headers", "GET", "/cookies", (("Cookie", "a=1"), ("Cookie", "b=2; c=3"))),
    Call("cookies in quotes", "GET", "/cookies", (("Cookie", 'a="x y\\073 \\"z\\" \\\\"; b="\\303\\251"; c="'),)),
    Call("cookies in disorder", "GET", "/cookies", (("Cookie", ";; a ; =b; c = d ; e=f=g; h i=j; k=l m; n=o,p"),)),
    Call("cookies beyond ASCII", "GET", "/cookies", (("Cookie", "a=caf\xc3\xa9; \xe9=1"),)),
    Call("cookies of an analytics service", "GET", "/cookies", (("Cookie", "__utmz=1; a=2"),)),
    Call("cookies of an analytics service on demand", "GET", "/cookies?show_env", (("Cookie", "__utmz=1; a=2"),)),
    Call("set cookies", "GET", "/cookies/set?b=2&a=1&b=3"),
    Call("set no cookies", "GET", "/cookies/set"),
    Call("set cookies that need quotes", "GET", "/cookies/set?a=x%20y&b=%22%5C;,&c=caf%C3%A9&d=x%3Dy&e=&f=%01"),
    Call("set cookies with odd names", "GET", "/cookies/set?caf%C3%A9=1&a%20b=2&=3"),
    Call("set a cookie with a line break in its name", "GET", "/cookies/set?a%0D%0AX-Evil:%201=2"),
    Call("set cookies behind TLS", "GET", "/cookies/set?a=1", (("X-Forwarded-Proto", "https"),)),
    Call("set cookies by HEAD", "HEAD", "/cookies/set?a=1"),
    Call("set one cookie", "GET", "/cookies/set/name/value"),
    Call("set one cookie with escapes", "GET", "/cookies/set/na%20me/va%2Clu%3Be%C3%A9"),
    Call("set one cookie without a value", "GET", "/cookies/set/name/"),
    Call("set one cookie by HEAD", "HEAD", "/cookies/set/name/value"),
    Call("delete cookies", "GET", "/cookies/delete?a&b=1"),
    Call("delete no cookies", "GET", "/cookies/delete"),
    Call("delete cookies by HEAD", "HEAD", "/cookies/delete?a"),
]

DYNAMIC = [
    Call("uuid", "GET", "/uuid", rules=(random_uuid,)),
    Call("uuid by HEAD", "HEAD", "/uuid"),
    Call("stream", "GET", "/stream/3?b=1&a=%C3%A9", (("X-Last", "z"), ("Accept", "*/*"), ("X-Last", "a"))),
    Call("stream nothing", "GET", "/stream/0"),
    Call("stream more than it does", "GET", "/stream/1000"),
    Call("stream by HEAD", "HEAD", "/stream/3"),
    Call("stream by POST", "POST", "/stream/3"),
    Call("delay", "GET", "/delay/0.05?a=1"),
    Call("delay nothing", "GET", "/delay/0"),
    Call("delay by HEAD", "HEAD", "/delay/0"),
    Call("delay by POST", "POST", "/delay/0.01", FORM, b"a=1"),
    Call("delay by PUT", "PUT", "/delay/1e-3", JSON, b'{"a": 1}'),
    Call("delay by DELETE", "DELETE", "/delay/0"),
    Call("delay by PATCH", "PATCH", "/delay/0", MULTIPART, parts(file("f", "f.txt", "text/plain", b"text"))),
    Call("delay by TRACE", "TRACE", "/delay/0"),
    Call("delay a word", "GET", "/delay/long"),
    Call("delay a negative time", "GET", "/delay/-1"),
    Call("delay not a number", "GET", "/delay/nan"),
    Call("bytes", "GET", "/bytes/16", rules=(random_bytes,)),
    Call("bytes from a seed", "GET", "/bytes/64?seed=42"),
    Call("bytes from a seed in upper case", "GET", "/bytes/64?SEED=7&seed=8"),
    Call("bytes from a word", "GET", "/bytes/64?seed=x"),
    Call("no bytes", "GET", "/bytes/0?seed=1"),
    Call("more bytes than it gives", "GET", "/bytes/200000?seed=1"),
    Call("bytes by HEAD", "HEAD", "/bytes/16"),
    Call("base64", "GET", "/base64/SFRUUEJJTiBpcyBhd2Vzb21l"),
    Call("base64 of HTML beyond ASCII", "GET", "/base64/PGI-w6k8L2I-"),
    Call("base64 of bytes", "GET", "/base64/_w=="),
    Call("base64 cut short", "GET", "/base64/SFRUUEJJT"),
    Call("base64 that is not", "GET", "/base64/%C3%A9!"),
    Call("base64 by HEAD", "HEAD", "/base64/aGk="),
]

FORMATS = [
    Call("json", "GET", "/json"),
    Call("json by HEAD", "HEAD", "/json"),
    Call("gzip", "GET", "/gzip", (("Accept-Encoding", "gzip"),), rules=(gzip_clock,)),
    Call("gzip by HEAD", "HEAD", "/gzip"),
    Call("response headers", "GET", "/response-headers?x-b=2&X-A=1"),
    Call("no response headers", "GET", "/response-headers"),
    Call("response headers that repeat", "GET", "/response-headers?a=1&b=2&a=3&A=4"),
    Call("response headers by POST", "POST", "/response-headers?a=1", FORM, b"b=2"),
    Call("response headers by HEAD", "HEAD", "/response-headers?a=1"),
    Call("response headers by PUT", "PUT", "/response-headers?a=1"),
    Call("response headers in latin-1", "GET", "/response-headers?a=caf%C3%A9&b="),
    Call("response headers with a line break", "GET", "/response-headers?a=1%0D%0AX-Evil:%201"),
    Call(
        "response headers with a second content type", "GET", "/response-headers?Content-Type=text/plain;%20charset=x"
    ),
    Call("response headers with a location", "GET", "/response-headers?Location=/caf%C3%A9?a=%5B%20%5D%23%22"),
    Call("response headers with a CORS header", "GET", "/response-headers?Access-Control-Allow-Origin=x&ETag=%22y%22"),
    Call("response headers of the connection", "GET", "/response-headers?Connection=close&Server=x&Keep-Alive=1&TE=y"),
]

AUTH = [
    Call("basic auth", "GET", "/basic-auth/user/pass", (("Authorization", "Basic dXNlcjpwYXNz"),)),
    Call("basic auth by HEAD", "HEAD", "/basic-auth/user/pass", (("Authorization", "Basic dXNlcjpwYXNz"),)),
    Call("basic auth in lower case", "GET", "/basic-auth/user/pass", (("Authorization", "basic  dXNlcjpwYXNz "),)),
    Call("basic auth beyond ASCII", "GET", "/basic-auth/%C3%A9/a%2Fb", (("Authorization", "Basic w6k6YS9i"),)),
    Call("basic auth with a colon", "GET", "/basic-auth/u/a:b", (("Authorization", "Basic dTphOmI="),)),
    Call("basic auth with a wrong password", "GET", "/basic-auth/user/x", (("Authorization", "Basic dXNlcjpwYXNz"),)),
    Call("basic auth without credentials", "GET", "/basic-auth/user/pass"),
    Call("basic auth that is not base64", "GET", "/basic-auth/user/pass", (("Authorization", "Basic !"),)),
    Call("basic auth by another scheme", "GET", "/basic-auth/user/pass", (("Authorization", "Bearer dXNlcjpwYXNz"),)),
    Call("bearer", "GET", "/bearer", (("Authorization", "Bearer to.k-en="),)),
    Call("bearer by HEAD", "HEAD", "/bearer", (("Authorization", "Bearer token"),)),
    Call("bearer in lower case", "GET", "/bearer", (("Authorization", "bearer token"),)),
    Call("bearer of nothing", "GET", "/bearer", (("Authorization", "Bearer"),)),
    Call("bearer without credentials", "GET", "/bearer"),
]

PATHS = [
    Call("a path that is nowhere", "GET", "/nope?a=1"),
    Call("a path that is nowhere by POST", "POST", "/nope", FORM, b"a=1"),
    Call("a path that is nowhere by HEAD", "HEAD", "/nope"),
    Call("get with a slash after it", "GET", "/get/"),
    Call("get with a slash before it", "GET", "//get?a=1"),
    Call("get with slashes before it", "GET", "///get"),
    Call("get with an escaped slash before it", "GET", "/%2Fget"),
    Call("get in upper case", "GET", "/GET"),
    Call("get with escaped letters", "GET", "/%67e%74"),
    Call("get with a parameter", "GET", "/get;a=1"),
    Call("get with dots", "GET", "/anything/../get"),
    Call("get in absolute form", "GET", f"http://{HOST}/get?a=1"),
    Call("status with slashes to merge", "GET", "/status//418"),
]

MOVED = [
    *ARGUMENTS,
    *CORS,
    *INSPECTION,
    *FORMS,
    *DATA,
    *ANYTHING,
    *STATUS,
    *REDIRECTS,
    *COOKIES,
    *DYNAMIC,
    *FORMATS,
    *AUTH,
    *PATHS,
]
"""Requests that the async app answers, those for nothing in particular included."""

CHALLENGE = (random_nonce,)

STAYING = [
    Call("landing page", "GET", "/"),
    Call("html", "GET", "/html"),
    Call("html by HEAD", "HEAD", "/html"),
    Call("html by OPTIONS", "OPTIONS", "/html", (("Origin", "https://front.test"),)),
    Call("html by POST", "POST", "/html"),
    Call("xml", "GET", "/xml"),
    Call("robots.txt", "GET", "/robots.txt"),
    Call("denied page", "GET", "/deny"),
    Call("page of forms", "GET", "/forms/post"),
    Call("UTF-8", "GET", "/encoding/utf8"),
    Call("deflate", "GET", "/deflate", (("X-A", "1"),)),
    Call("brotli", "GET", "/brotli"),
    Call("PNG", "GET", "/image/png"),
    Call("PNG by HEAD", "HEAD", "/image/png"),
    Call("image by preference", "GET", "/image", (("Accept", "image/webp,*/*"),)),
    Call("image by refusal", "GET", "/image", (("Accept", "text/html"),)),
    Call("static file", "GET", "/static/favicon.ico"),
    Call("static file from a byte on", "GET", "/static/favicon.ico", (("Range", "bytes=10-19"),)),
    Call("redirect to a URL", "GET", "/redirect-to?url=http%3A%2F%2Fexample.test%2Fcaf%C3%A9&status_code=307"),
    Call("redirect to a URL by POST", "POST", "/redirect-to?url=/x", FORM, b"url=/y"),
    Call("hidden basic auth", "GET", "/hidden-basic-auth/u/p"),
    Call("digest auth", "GET", "/digest-auth/auth/user/pass", rules=CHALLENGE),
    Call("digest auth with SHA-256", "GET", "/digest-auth/auth-int/user/pass/SHA-256", rules=CHALLENGE),
    Call("cache", "GET", "/cache", rules=(random_etag, modified_now)),
    Call("cache that is fresh", "GET", "/cache", (("If-None-Match", '"x"'),)),
    Call("cache for a minute", "GET", "/cache/60"),
    Call("etag", "GET", "/etag/abc", (("If-None-Match", 'W/"xyz", "abc"'),)),
    Call("etag that does not match", "GET", "/etag/abc", (("If-Match", '"xyz"'),)),
    Call("range", "GET", "/range/40", (("Range", "bytes=5-9"),)),
    Call("range that is not satisfiable", "GET", "/range/40", (("Range", "bytes=50-"),)),
    Call("streamed bytes", "GET", "/stream-bytes/100?seed=1&chunk_size=7"),
    Call("drip", "GET", "/drip?duration=0.1&numbytes=4&code=202"),
    Call("links", "GET", "/links/4/2"),
    Call("links from the first on", "GET", "/links/4"),
]
"""Requests that only httpbin itself can answer."""

SESSION = [*MOVED, *STAYING]


def run_session(port: int, calls: Iterable[Call] = SESSION) -> dict[str, Answer]:
    """One connection for each request, in order; the answers by the name of the call."""
    return {call.name: send(port, call) for call in calls}


def send(port: int, call: Call) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(call.method, call.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", HOST)
        for name, value in call.headers:
            connection.putheader(name, value)
        if call.body:
            connection.putheader("Content-Length", str(len(call.body)))
        connection.endheaders(call.body or None)
        response = connection.getresponse()
        return Answer(response.status, tuple(response.getheaders()), response.read())
    finally:
        connection.close()
