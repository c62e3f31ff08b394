"""A request as Flask shows it to httpbin: what Werkzeug makes of a WSGI environ."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from examples.httpbin.body import Body, parse_body, show_bytes
from examples.httpbin.query import Pairs, first_values, flatten_pairs, parse_pairs
from examples.httpbin.urls import readable_url, valid_host

# What a hosting platform's proxies add; shown only to those who ask with `?show_env`.
HIDDEN_HEADERS = frozenset(
    {
        "Connect-Time",
        "Total-Route-Time",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Forwarded-Protocol",
        "X-Forwarded-Ssl",
        "X-Heroku-Dynos-In-Use",
        "X-Heroku-Queue-Depth",
        "X-Heroku-Queue-Wait-Time",
        "X-Real-Ip",
        "X-Request-Id",
        "X-Request-Start",
        "X-Varnish",
    }
)


class Echo:
    """The parts of one request that httpbin talks about."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.method: str = request.method
        self.scheme: str = request.scope["scheme"]
        self.headers = wsgi_headers(request.scope["headers"])

    @cached_property
    def args(self) -> Pairs:
        return parse_pairs(self._request.scope["query_string"].decode())

    @property
    def host(self) -> str:
        server = self._request.scope["server"] or ("", None)
        return valid_host(self.scheme, self.headers.get("Host", "{}:{}".format(*server)))

    @property
    def url(self) -> str:
        scope = self._request.scope
        protocol = self.headers.get("X-Forwarded-Proto") or self.headers.get("X-Forwarded-Protocol")
        if protocol is None and self.headers.get("X-Forwarded-Ssl") == "on":
            protocol = "https"
        return readable_url(protocol or self.scheme, self.host, scope["path"], scope["query_string"])

    @property
    def origin(self) -> str | None:
        client = self._request.client
        return self.headers.get("X-Forwarded-For", client.host if client else None)

    @property
    def visible_headers(self) -> dict[str, str]:
        if self.has_arg("show_env"):
            return self.headers
        return {name: value for name, value in self.headers.items() if name not in HIDDEN_HEADERS}

    def has_arg(self, name: str) -> bool:
        return any(key == name for key, _ in self.args)

    async def describe(self, *fields: str) -> dict[str, Any]:
        """The named fields, in that order. Reads the body whatever the fields are, as httpbin does."""
        body = parse_body(self.headers.get("Content-Type", ""), await self._request.body())
        described = self._describe_head() | _describe_body(body)
        return {field: described[field] for field in fields}

    def _describe_head(self) -> dict[str, Any]:
        return {
            "args": flatten_pairs(self.args),
            "headers": self.visible_headers,
            "method": self.method,
            "origin": self.origin,
            "url": self.url,
        }


def _describe_body(body: Body) -> dict[str, Any]:
    files = [(part.name, show_bytes(part.content, part.content_type)) for part in body.files]
    return {
        "data": show_bytes(body.data),
        "files": first_values(files),
        "form": flatten_pairs(body.form),
        "json": _parse_json(body.data),
    }


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except ValueError:
        return None


def wsgi_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers in the order of the request, named as an environ's keys read, repeated ones joined.

    Names with an underscore are dropped, as gunicorn does: an environ could not tell them from those with a hyphen.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").title(), raw_value.decode("latin-1").strip(" \t")
        if "_" not in name:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    for name in ("Content-Type", "Content-Length"):
        if not headers.get(name):
            headers.pop(name, None)
    return headers


async def _read_echo(request: Request) -> Echo:
    return Echo(request)


RequestEcho = Annotated[Echo, Depends(_read_echo)]
