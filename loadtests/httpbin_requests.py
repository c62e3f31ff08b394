"""Ten requests to ten endpoints of httpbin, of different kinds: their answers hold no clock and no chance."""

import asyncio
import json
from dataclasses import dataclass
from itertools import zip_longest

from loadtests.http_connection import Answer, Connection
from loadtests.http_load import Request, build_request

ENDPOINTS = {
    # The query, repeated and empty values among it
    "GET /get": build_request("GET", "/get?a=1&a=2&b=&c=%C3%A9%20x", [("Accept", "application/json")]),
    "GET /headers": build_request("GET", "/headers", [("User-Agent", "loadtests"), ("X-Twice", "1"), ("X-Empty", "")]),
    "GET /json": build_request("GET", "/json"),
    "POST /post": build_request(
        "POST",
        "/post",
        [("Content-Type", "application/json")],
        json.dumps({"text": "проверка " * 100, "numbers": list(range(50))}).encode(),
    ),
    "PUT /put": build_request(
        "PUT", "/put", [("Content-Type", "application/x-www-form-urlencoded")], b"name=one&name=two&text=a+b%26c"
    ),
    # An encoded slash and a space in the path
    "DELETE /anything/{anything}": build_request("DELETE", "/anything/a%20b/c%2Fd?x=1"),
    # No Content-Length: the answer is chunked
    "GET /stream/{n}": build_request("GET", "/stream/5"),
    # Credentials: one/two. (Not /bytes?seed=1: httpbin seeds the random generator that its threads share.)
    "GET /basic-auth/{user}/{passwd}": build_request(
        "GET", "/basic-auth/one/two", [("Authorization", "Basic b25lOnR3bw==")]
    ),
    # No success, and a body that is not JSON
    "GET /status/{codes}": build_request("GET", "/status/418"),
    # A redirect with a cookie
    "GET /cookies/set/{name}/{value}": build_request("GET", "/cookies/set/flavour/oat", [("Cookie", "a=1; b=2")]),
}
# What a server or the gateway says for itself, different in every answer.
CHANGING_HEADERS = frozenset({b"date", b"server-timing", b"x-request-id", b"x-served-by"})
ANSWER_S = 10.0
SHOWN_BYTES = 100


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client can tell of an answer. Headers sorted."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of(cls, answer: Answer) -> "Expected":
        kept = [header for header in answer.headers if header[0] not in CHANGING_HEADERS]
        return cls(answer.status, tuple(sorted(kept)), answer.body)

    def find_difference(self, answer: Answer) -> str | None:
        given = Expected.of(answer)
        if given.status != self.status:
            return f"status {given.status} instead of {self.status}: {_shorten(given.body)}"
        if given.headers != self.headers:
            surplus, missing = set(given.headers) - set(self.headers), set(self.headers) - set(given.headers)
            return f"headers {sorted(surplus)} instead of {sorted(missing)}"
        return None if given.body == self.body else _describe_difference(given.body, self.body)


def _describe_difference(given: bytes, expected: bytes) -> str:
    pairs = zip_longest(given, expected)
    start = next(index for index, (ours, theirs) in enumerate(pairs) if ours != theirs)
    return f"body, from byte {start} on: {_shorten(given[start:])} instead of {_shorten(expected[start:])}"


def _shorten(body: bytes) -> str:
    return repr(body[:SHOWN_BYTES]) + ("…" if len(body) > SHOWN_BYTES else "")


async def ask_each(port: int) -> dict[str, Answer]:
    """Every endpoint's answer, one after the other on one connection."""
    connection = Connection(port)
    answers = {}
    for endpoint, request in ENDPOINTS.items():
        async with asyncio.timeout(ANSWER_S):
            answers[endpoint] = await connection.exchange(request.data)
    connection.close()
    return answers


def name_requests() -> list[Request]:
    """The requests, each named after its endpoint."""
    return [Request(endpoint, request.data) for endpoint, request in ENDPOINTS.items()]
