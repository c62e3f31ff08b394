"""Visitors: clients with a cookie jar, who do the same on an app under gunicorn and behind the gateway."""

import json
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, Self
from urllib.parse import urlencode

from tests.examples.comparison import Answer, Rule, reduce_answer
from tests.examples.session import FORM, HOST, JSON, TIMEOUT_S, Headers

# What only the gateway says, so that a test cannot compare gunicorn with itself.
SERVED_BY = "x-served-by"


@dataclass(frozen=True)
class Server:
    name: str
    port: int
    redis_url: str
    """A database of its own: what the app keeps there is not the other server's."""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)


@dataclass(frozen=True)
class Page(Answer):
    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str:
        """The first header of that name, which has to be there."""
        return self.list_headers(name)[0]

    def list_headers(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Visitor:
    """Nothing is normalised or followed; one connection for each request."""

    server: Server
    visits: list[tuple[str, Page]] = field(default_factory=list)
    """Request lines and answers, for the comparison."""
    cookies: dict[str, str] = field(default_factory=dict)

    def someone_else(self) -> Self:
        """Another client of the same server."""
        return type(self)(self.server, self.visits)

    def get(self, target: str, *headers: tuple[str, str]) -> Page:
        return self.send("GET", target, headers)

    def post(
        self, target: str, *headers: tuple[str, str], form: Mapping[str, str] | None = None, json: Any = None
    ) -> Page:
        if json is not None:
            return self.send("POST", target, (*JSON, *headers), _dump(json))
        return self.send("POST", target, (*FORM, *headers), urlencode(form or {}).encode())

    def send(self, method: str, target: str, headers: Headers = (), body: bytes | Sequence[bytes] = b"") -> Page:
        """A `body` of several pieces is sent in chunks."""
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT_S)) as connection:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in ("Host", HOST), *self._cookie_header(), *headers:
                connection.putheader(name, value)
            chunked = not isinstance(body, bytes)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None, encode_chunked=chunked)
            response = connection.getresponse()
            page = Page(response.status, tuple(response.getheaders()), response.read())
        self._keep(f"{method} {target}", page)
        return page

    def leave(self, target: str, *, after_bytes: int) -> bytes:
        """Get `target`, read some of the answer and hang up. Returns what was read."""
        request = "".join(f"{name}: {value}\r\n" for name, value in (("Host", HOST), *self._cookie_header()))
        with self.server.connect() as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\n{request}\r\n".encode())
            return read_bytes(connection, after_bytes)

    def _cookie_header(self) -> Headers:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return (("Cookie", pairs),) if pairs else ()

    def _keep(self, request: str, page: Page) -> None:
        sys.stdout.write(f"{self.server.name}: {request} -> {page.status}\n")  # seen when a test fails
        self.visits.append((request, page))
        for header in page.list_headers("set-cookie"):
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes or "01 Jan 1970" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value


def read_bytes(connection: socket.socket, number: int) -> bytes:
    """At least `number` bytes, fewer only at the end."""
    received = b""
    while len(received) < number and (piece := connection.recv(65_536)):
        received += piece
    return received


@dataclass(frozen=True)
class Both:
    """Called in a `for` statement: a visitor of gunicorn, then one of the gateway; then their visits are compared."""

    gunicorn: Server
    gateway: Server

    def __call__(self, *rules: Rule) -> Iterator[Visitor]:
        """`rules` say which values are generated, and so cannot be the same."""
        alone, mounted = Visitor(self.gunicorn), Visitor(self.gateway)
        yield alone
        yield mounted
        assert {page.header(SERVED_BY) for _, page in alone.visits} <= {None}
        assert {page.header(SERVED_BY) for _, page in mounted.visits} <= {"legacy"}
        for expected, visit in zip(alone.visits, mounted.visits, strict=True):
            assert _reduce(visit, rules) == _reduce(expected, rules)


def _reduce(visit: tuple[str, Page], rules: Iterable[Rule]) -> tuple[str, Any]:
    request, page = visit
    return request, reduce_answer(page, rules)


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()
