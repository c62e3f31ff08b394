"""Runs another app's lifespan inside the gateway's own."""

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Message

from gateway.errors import GatewayError

logger = logging.getLogger("gateway.lifespan")

END_TIMEOUT_S = 1.0


class StartupError(GatewayError):
    """The async app said that it cannot start."""


class AppLifespan:
    """The ASGI lifespan protocol from the server's end, as an asynchronous context manager.

    Entering raises what the app raised at start-up. The app's lifespan runs in one task of its own from beginning to
    end, since task groups and cancel scopes must be left where they were entered. An app that does not speak the
    protocol counts as started (ASGI specification, lifespan protocol).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._speaks = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="async app lifespan")
        await self._to_app.put({"type": "lifespan.startup"})
        await self._wait(self._started)
        if self._failure is not None or self._task.done():
            await self._end()
        if self._failure is not None:
            raise StartupError(self._failure or "the async app reported that its start-up failed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        if not self._task.done():
            await self._to_app.put({"type": "lifespan.shutdown"})
            await self._wait(self._stopped)
        await self._end()
        if self._failure is not None:
            logger.error("the async app reported that its shutdown failed: %s", self._failure)

    async def _wait(self, event: asyncio.Event) -> None:
        assert self._task is not None
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _end(self) -> None:
        """Have the app, which has said its last, return. What it raises says more than what it reported."""
        assert self._task is not None
        await asyncio.wait({self._task}, timeout=END_TIMEOUT_S)
        self._task.cancel()
        (error,) = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(error, Exception) and self._speaks:
            raise error

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._app(scope, self._to_app.get, self._receive_from_app)

    async def _receive_from_app(self, message: Message) -> None:
        self._speaks = True
        match message["type"]:
            case "lifespan.startup.complete":
                self._started.set()
            case "lifespan.shutdown.complete":
                self._stopped.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._failure = message.get("message", "")
                self._started.set()
                self._stopped.set()
