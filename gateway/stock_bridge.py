"""Stock a2wsgi, to show by tests and benchmarks what the gateway's own bridge does differently.

Not for production: ten clients that leave a streamed answer hang every legacy endpoint for good.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from a2wsgi import WSGIMiddleware
from starlette.types import Receive, Scope, Send

from gateway.bridge import CALLED_AT


class StockBridge:
    """Runs a WSGI app in `threads` threads through a2wsgi; at most `queue` more requests wait for one of them."""

    def __init__(self, app: Callable[..., Iterable[bytes]], *, threads: int, queue: int) -> None:
        self._app = app
        self._middleware = WSGIMiddleware(self._call, workers=threads)  # type: ignore[arg-type]
        self._threads = threads
        self._limit = threads + queue
        self._requests = 0

    @property
    def saturated(self) -> bool:
        """Whether every thread is busy and the queue is full."""
        return self._requests >= self._limit

    @property
    def busy(self) -> int:
        return min(self._requests, self._threads)

    @property
    def waiting(self) -> int:
        return max(self._requests - self._threads, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._requests += 1
        try:
            await self._middleware(scope, receive, send)  # type: ignore[arg-type]
        finally:
            self._requests -= 1

    def close(self) -> None:
        self._middleware.executor.shutdown(wait=False, cancel_futures=True)

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["asgi.scope"][CALLED_AT] = time.perf_counter()
        return self._app(environ, start_response)
