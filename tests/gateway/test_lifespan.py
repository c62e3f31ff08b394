import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI, Request
from flask import Flask
from starlette.types import Receive, Scope, Send

from gateway.app import Gateway
from gateway.lifespan import AppLifespan, StartupError
from tests.gateway.apps import fetch, make_settings, running_gateway


class Recorder:
    """An app of bare ASGI that does as told in its lifespan, and notes how far it came."""

    def __init__(self, *answers: dict[str, Any], then: BaseException | None = None, waits: bool = False) -> None:
        self.answers = answers
        self.then = then
        self.waits = waits
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for answer in self.answers:
            self.seen.append((await receive())["type"])
            await send(answer)
        if self.waits:
            await receive()
        if self.then is not None:
            raise self.then
        self.seen.append("returned")


STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


async def test_start_and_end_reach_the_app() -> None:
    app = Recorder(STARTED, STOPPED)
    async with AppLifespan(app):
        assert app.seen == ["lifespan.startup"]
    assert app.seen == ["lifespan.startup", "lifespan.shutdown", "returned"]


async def test_app_is_left_time_to_return_after_its_last_word() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for answer in (STARTED, STOPPED):
            await receive()
            await send(answer)
        await asyncio.sleep(0)
        ended.append("cleanly")

    async with AppLifespan(app):
        pass
    assert ended == ["cleanly"]


@pytest.mark.parametrize("app", [Recorder(then=RuntimeError("what is a lifespan?")), Recorder(), Recorder(STARTED)])
async def test_app_without_the_protocol_counts_as_started(app: Recorder) -> None:
    async with AppLifespan(app) as lifespan:
        assert lifespan.state == {}


async def test_reported_failure_to_start_is_raised_with_its_message() -> None:
    app = Recorder({"type": "lifespan.startup.failed", "message": "no database"})
    with pytest.raises(StartupError, match=r"^no database$"):
        async with AppLifespan(app):
            pytest.fail("it has not started")


async def test_failure_without_a_message_says_at_least_that() -> None:
    with pytest.raises(StartupError, match="the async app reported that its start-up failed"):
        async with AppLifespan(Recorder({"type": "lifespan.startup.failed"})):
            pass


async def test_exception_says_more_than_the_report() -> None:
    app = Recorder({"type": "lifespan.startup.failed", "message": "traceback"}, then=ValueError("no database"))
    with pytest.raises(ValueError, match="no database"):
        async with AppLifespan(app):
            pass


async def test_app_that_hangs_after_its_failure_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.lifespan.END_TIMEOUT_S", 0.01)
    app = Recorder({"type": "lifespan.startup.failed", "message": "no database"}, waits=True)
    with pytest.raises(StartupError, match="no database"):
        async with asyncio.timeout(5), AppLifespan(app):
            pass


async def test_failure_to_stop_is_raised() -> None:
    app = Recorder(STARTED, {"type": "lifespan.shutdown.failed"}, then=ValueError("cannot flush"))
    with pytest.raises(ValueError, match="cannot flush"):
        async with AppLifespan(app):
            pass


async def test_failure_to_stop_that_is_only_reported_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = Recorder(STARTED, {"type": "lifespan.shutdown.failed", "message": "cannot flush"})
    with caplog.at_level(logging.ERROR):
        async with AppLifespan(app):
            pass
    assert [record.message for record in caplog.records] == [
        "the async app reported that its shutdown failed: cannot flush"
    ]


async def test_app_that_ends_by_itself_meanwhile_is_not_asked_again() -> None:
    app = Recorder(STARTED)
    async with AppLifespan(app):
        await asyncio.sleep(0)
    assert app.seen == ["lifespan.startup", "returned"]


# The same within a gateway, with FastAPI's own lifespans.


async def test_state_reaches_requests_each_with_a_copy_of_its_own(tmp_path: Path) -> None:
    shared: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": shared, "name": "original"}

    api = FastAPI(lifespan=lifespan)

    @api.get("/state")
    async def state(request: Request) -> list[str]:
        seen = request.state.name
        request.state.name = "changed"
        request.state.pool.append(seen)
        return [seen]

    async with running_gateway(tmp_path, Flask("legacy"), api) as gateway:
        answers = [(await fetch(gateway, "GET", "/state")).json for _ in range(2)]
    assert answers == [["original"], ["original"]]
    assert shared == ["original", "original"]


async def test_lifespan_surrounds_the_requests(tmp_path: Path) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events.append("start")
        yield
        events.append("stop")

    api = FastAPI(lifespan=lifespan)
    api.get("/x")(lambda: events.append("request"))
    async with running_gateway(tmp_path, Flask("legacy"), api) as gateway:
        await fetch(gateway, "GET", "/x")
    assert events == ["start", "request", "stop"]


async def test_task_group_of_a_lifespan_is_left_where_it_was_entered(tmp_path: Path) -> None:
    done: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with anyio.create_task_group() as group:
            yield {"group": group}
            group.cancel_scope.cancel()

    api = FastAPI(lifespan=lifespan)

    async def work(ready: anyio.Event) -> None:
        done.append("began")
        ready.set()
        try:
            await anyio.sleep_forever()
        finally:
            done.append("cancelled")

    @api.get("/x")
    async def x(request: Request) -> None:
        ready = anyio.Event()
        request.state.group.start_soon(work, ready)
        await ready.wait()

    async with running_gateway(tmp_path, Flask("legacy"), api) as gateway:
        assert (await fetch(gateway, "GET", "/x")).status == 200
    assert done == ["began", "cancelled"]


async def test_failing_lifespan_stops_the_start_and_closes_what_was_open(tmp_path: Path) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("cannot reach the database")
        yield

    gateway = Gateway(make_settings(tmp_path), legacy=Flask("legacy"), target=FastAPI(lifespan=lifespan))
    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="cannot reach the database"):
        async with gateway.router.lifespan_context(gateway):
            pytest.fail("it has not started")
    assert asyncio.all_tasks() == before
