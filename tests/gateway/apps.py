"""Gateways to test, and requests to them exactly as a server would hand them over."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn
from httpx import Headers
from starlette.types import ASGIApp, Message

from gateway.app import Gateway
from gateway.settings import Settings, load_settings

TOKEN = "a token for tests only"
START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def allow(self) -> set[str]:
        return set(self.headers.get("allow", "").split(", "))

    @property
    def side(self) -> str | None:
        return self.headers.get("x-served-by")


def http_scope(
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    root_path: str = "",
    client: tuple[str, int] | None = ("192.0.2.7", 50_000),
) -> dict[str, Any]:
    """The scope that uvicorn builds for the request target `target`, which it takes as it is on the wire."""
    raw_path, _, query = target.partition("?")
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    host = [] if any(name == b"host" for name, _ in given) else [(b"host", b"gateway.test")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": root_path + unquote(raw_path),
        "raw_path": (root_path + raw_path).encode("ascii"),
        "root_path": root_path,
        "query_string": query.encode("ascii"),
        "headers": [*host, *given],
        "client": client,
        "server": ("gateway.test", 80),
        "state": {},
    }


async def call(app: ASGIApp, scope: dict[str, Any], body: bytes = b"") -> Answer:
    """One request; an exception that the app raises is raised here."""
    request: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []
    answered = asyncio.Event()

    async def receive() -> Message:
        if request:
            return request.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await app(scope, receive, send)
    start, *rest = sent
    headers = Headers([(name, value) for name, value in start["headers"]])
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


async def fetch(app: ASGIApp, method: str, target: str, *, body: bytes = b"", **scope: Any) -> Answer:
    return await call(app, http_scope(method, target, **scope), body)


def make_settings(state_dir: Path, **flags: Any) -> Settings:
    return load_settings(
        **{"state_dir": state_dir, "store": f"sqlite:///{state_dir}/plan.db", "admin_token": TOKEN, **flags}
    )


@asynccontextmanager
async def running_gateway(
    state_dir: Path, legacy: Callable[..., Any] | None, target: ASGIApp | None, **flags: Any
) -> AsyncIterator[Gateway]:
    """A gateway within its lifespan."""
    gateway = Gateway(make_settings(state_dir, **flags), legacy=legacy, target=target)
    async with gateway.router.lifespan_context(gateway):
        yield gateway


async def move(gateway: Gateway, endpoints: Iterable[str], stage: str = "async", percent: float | None = None) -> None:
    """Through the control API, as an operator does."""
    change = {"endpoints": list(endpoints), "stage": stage, "percent": percent}
    answer = await fetch(
        gateway,
        "POST",
        f"{gateway.settings.control_prefix}/stage",
        headers=[("authorization", f"Bearer {TOKEN}"), ("content-type", "application/json")],
        body=json.dumps(change).encode(),
    )
    assert answer.status == 200, answer.text


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[str]:
    """A real uvicorn on a free port of 127.0.0.1, in a thread; gives `host:port`."""
    listener = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(START_TIMEOUT_S)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)
        listener.close()
