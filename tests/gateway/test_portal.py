import asyncio
import contextvars
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask, request

from gateway.adapters import portal
from gateway.app import Gateway
from tests.gateway.apps import make_settings, serving

ROOT = Path(__file__).parents[2]
THREADS = 50
CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("CALLER", default="nobody")


async def get_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def give(value: Any, *, after_s: float = 0.0) -> Any:
    await asyncio.sleep(after_s)
    return value


async def fail_deep_inside() -> NoReturn:
    raise LookupError("no such thing")


def in_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result(timeout=10)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Work:
    """A coroutine that lasts until it is cancelled, and what became of it."""

    def __init__(self, clean_up: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.state = "not begun"
        self._clean_up = clean_up

    async def run(self) -> Any:
        self.state = "running"
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.state = "cancelled"
            if self._clean_up is not None:
                result = await self._clean_up()
                self.state = "cleaned up"
                return result
            raise


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs, and is closed when it is stopped."""

    def work() -> None:
        loop.run_forever()
        loop.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=work)
    thread.start()
    wait_for(loop.is_running)
    try:
        yield loop
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_result_is_returned() -> None:
    assert portal.run(give({"id": 1}, after_s=0.01)) == {"id": 1}


def test_every_thread_shares_one_background_loop() -> None:
    loop = portal.run(get_loop())
    assert in_thread(lambda: portal.run(get_loop())) is loop
    assert loop.is_running()


def test_calls_of_fifty_threads_run_at_once() -> None:
    async def make_barrier() -> asyncio.Barrier:
        return asyncio.Barrier(THREADS)

    async def meet(number: int) -> int:
        await barrier.wait()
        return number

    barrier = portal.run(make_barrier())
    with ThreadPoolExecutor(THREADS) as executor:
        results = list(executor.map(lambda number: portal.run(meet(number), timeout=10), range(THREADS)))
    assert results == list(range(THREADS))


def test_many_calls_of_many_threads_each_get_their_own_result() -> None:
    def call_often(thread: int) -> list[int]:
        return [portal.run(give(thread * 1000 + number)) for number in range(40)]

    with ThreadPoolExecutor(THREADS) as executor:
        results = list(executor.map(call_often, range(THREADS)))
    assert results == [[thread * 1000 + number for number in range(40)] for thread in range(THREADS)]


def test_exception_is_raised_with_its_traceback() -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        portal.run(fail_deep_inside())
    assert "fail_deep_inside" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), TimeoutError("mine")])
def test_exception_of_any_kind_reaches_the_caller_and_not_the_loop(error: BaseException) -> None:
    async def fail() -> NoReturn:
        raise error

    loop = portal.run(get_loop())
    with pytest.raises(type(error)) as caught:
        portal.run(fail(), timeout=10)
    assert caught.value is error
    assert portal.run(get_loop()) is loop


def test_coroutine_sees_the_callers_context_variables() -> None:
    async def introduce() -> str:
        before = CALLER.get()
        CALLER.set("the coroutine")
        return before

    token = CALLER.set("the view")
    try:
        assert portal.run(introduce()) == "the view"
        assert CALLER.get() == "the view"
    finally:
        CALLER.reset(token)


def test_coroutine_sees_flasks_request() -> None:
    app = Flask(__name__)

    async def find_path() -> str:
        await asyncio.sleep(0)
        return request.path

    @app.get("/items/7")
    def show() -> str:
        return portal.run(find_path())

    assert app.test_client().get("/items/7").text == "/items/7"


def test_async_views_of_flask_can_be_run_by_it() -> None:
    class App(Flask):
        def async_to_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: portal.run(func(*args, **kwargs))

    app = App(__name__)
    loops: list[asyncio.AbstractEventLoop] = []

    @app.get("/")
    async def show() -> str:
        loops.append(asyncio.get_running_loop())
        return request.path

    assert app.test_client().get("/").text == "/"
    assert loops == [portal.run(get_loop())]


@pytest.mark.parametrize("timeout", [0.05, timedelta(milliseconds=50), 0, -1])
def test_time_limit_cancels_the_coroutine(timeout: float | timedelta) -> None:
    work = Work()
    with pytest.raises(TimeoutError, match="longer than"):
        portal.run(work.run(), timeout=timeout)
    # With no time at all it may not have begun
    assert work.state == "cancelled" or (timeout in (0, -1) and work.state == "not begun")


def test_time_limit_leaves_time_to_clean_up() -> None:
    async def clean_up() -> NoReturn:
        await asyncio.sleep(0.05)
        raise asyncio.CancelledError

    work = Work(clean_up)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        portal.run(work.run(), timeout=0.01)
    assert 0.05 < time.monotonic() - started < portal.CANCEL_GRACE_S


def test_cancelled_coroutine_that_returns_a_result_has_succeeded() -> None:
    assert portal.run(Work(lambda: give("half of it")).run(), timeout=0.01) == "half of it"


def test_cancelled_coroutine_that_fails_has_failed() -> None:
    with pytest.raises(LookupError):
        portal.run(Work(fail_deep_inside).run(), timeout=0.01)


def test_coroutine_that_takes_too_long_to_clean_up_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "CANCEL_GRACE_S", 0.05)
    work = Work(lambda: give(None, after_s=0.3))
    with pytest.raises(TimeoutError):
        portal.run(work.run(), timeout=0.01)
    assert work.state == "cancelled"
    wait_for(lambda: work.state == "cleaned up")


def test_coroutine_within_its_time_limit_is_not_cancelled() -> None:
    assert portal.run(give(1, after_s=0.02), timeout=timedelta(seconds=10)) == 1


def test_coroutine_never_starts_when_its_time_is_over_before() -> None:
    unblock = threading.Event()
    portal.run(get_loop()).call_soon_threadsafe(unblock.wait, 5)
    work = Work()
    coro = work.run()
    with pytest.raises(TimeoutError):
        portal.run(coro, timeout=0.05)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    unblock.set()
    assert portal.run(give(1)) == 1
    assert work.state == "not begun"


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")
def test_interrupted_wait_cancels_the_coroutine() -> None:
    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    async def clean_up() -> NoReturn:
        await asyncio.sleep(0.05)
        work.state = "cleaned up"
        raise asyncio.CancelledError

    def interrupt_when_it_runs() -> None:
        wait_for(lambda: work.state == "running")
        signal.pthread_kill(main, signal.SIGUSR1)

    work = Work(clean_up)
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, interrupt)
    interrupter = threading.Thread(target=interrupt_when_it_runs)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            portal.run(work.run())
    finally:
        interrupter.join()
        signal.signal(signal.SIGUSR1, before)
    assert work.state == "cleaned up"


async def test_call_on_a_loops_own_thread_is_refused() -> None:
    coro = give(1)
    with pytest.raises(RuntimeError, match="await the coroutine instead"):
        portal.run(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    assert await asyncio.to_thread(portal.run, give(2)) == 2


@pytest.mark.parametrize("wrong", [give, 7, None])
def test_anything_but_a_coroutine_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="needs a coroutine"):
        portal.run(wrong)


def test_loop_in_use_is_the_one_and_the_background_loop_comes_back() -> None:
    background = portal.run(get_loop())
    with loop_in_thread() as outer, portal.use_loop(outer):
        with loop_in_thread() as inner, portal.use_loop(inner):
            assert portal.run(get_loop()) is inner
        assert portal.run(get_loop()) is outer
    assert portal.run(get_loop()) is background


def test_released_loop_that_still_runs_is_refused() -> None:
    with loop_in_thread() as loop:
        with portal.use_loop(loop):
            pass
        coro = give(1)
        with pytest.raises(portal.LoopStoppedError, match="has stopped"):
            portal.run(coro)
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@pytest.mark.parametrize("closed", [True, False])
def test_loop_that_does_not_run_is_refused(closed: bool) -> None:
    loop = asyncio.new_event_loop()
    if closed:
        loop.close()
    coro = give(1)
    with portal.use_loop(loop), pytest.raises(portal.LoopStoppedError):
        portal.run(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    loop.close()


def test_loop_that_ends_cancels_what_it_runs() -> None:
    work = Work()

    async def serve() -> None:
        with portal.use_loop(asyncio.get_running_loop()):
            while work.state != "running":  # noqa: ASYNC110 - it begins without saying so
                await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as executor:
        serving = executor.submit(asyncio.run, serve())
        wait_for(lambda: portal._loops._serving != [])
        with pytest.raises(portal.LoopStoppedError):
            portal.run(work.run())
        serving.result()
    assert work.state == "cancelled"


def test_loop_that_is_closed_under_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "CHECK_EVERY_S", 0.05)

    def end_slowly() -> None:
        loop.stop()
        ending.set()
        time.sleep(0.1)  # the coroutine arrives meanwhile, and waits for a turn that does not come

    coro = give(1)
    ending = threading.Event()
    with loop_in_thread() as loop, portal.use_loop(loop):
        loop.call_soon_threadsafe(end_slowly)
        ending.wait(5)
        with pytest.raises(portal.LoopStoppedError):
            portal.run(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_background_loop_that_died_is_replaced() -> None:
    async def end_the_loop() -> None:
        asyncio.get_running_loop().call_soon(sys.exit)

    loop = portal.run(get_loop())
    portal.run(end_the_loop())
    wait_for(loop.is_closed)
    wait_for(lambda: not any(thread.name == "portal" for thread in threading.enumerate()))
    assert portal.run(get_loop()) is not loop


def run_script(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_process_has_a_loop_of_its_own() -> None:
    script = """
import asyncio, os, warnings
from gateway.adapters import portal
warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads

async def get_loop():
    await asyncio.sleep(0.001)
    return id(asyncio.get_running_loop())

loop = portal.run(get_loop())
child = os.fork()
os.write(1, b"the same\\n" if portal.run(get_loop()) == loop else b"another\\n")
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.write(1, b"the same\\n" if portal.run(get_loop()) == loop else b"another\\n")
"""
    assert sorted(run_script(script).splitlines()) == ["another", "the same", "the same"]


def test_end_of_the_process_lets_coroutines_clean_up() -> None:
    script = """
import asyncio, threading
from gateway.adapters import portal

async def work():
    begun.set()
    try:
        await asyncio.sleep(30)
    finally:
        print("cleaned up", flush=True)

begun = threading.Event()
threading.Thread(target=lambda: portal.run(work()), daemon=True).start()
begun.wait()
threading.excepthook = lambda args: print(args.exc_type.__name__)
"""
    assert "cleaned up" in run_script(script).splitlines()


def test_only_the_standard_library_is_imported() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from gateway.adapters import portal
print(sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)))
"""
    assert run_script(script, "-I", "-S") == "['__main__', 'gateway']\n"


def make_legacy_app() -> Flask:
    app = Flask(__name__)

    @app.get("/legacy/loop")
    def loop() -> dict[str, Any]:
        return {"loop": portal.run(identify_loop()), "thread": threading.get_ident()}

    @app.get("/legacy/slow")
    def slow() -> dict[str, Any]:
        return {"waited_s": portal.run(give(0.2, after_s=0.2))}

    @app.get("/legacy/late")
    def late() -> str:
        portal.run(give("too late", after_s=30), timeout=0.05)
        raise AssertionError

    return app


def make_async_app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/async/loop", identify_loop)
    return app


async def identify_loop() -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = make_settings(tmp_path_factory.mktemp("gateway"), legacy_threads=THREADS)
    with serving(Gateway(settings, legacy=make_legacy_app(), target=make_async_app())) as address:
        yield f"http://{address}"


def test_view_runs_coroutines_on_the_servers_loop(server: str) -> None:
    legacy = httpx.get(f"{server}/legacy/loop")
    target = httpx.get(f"{server}/async/loop")
    assert (legacy.headers["x-served-by"], target.headers["x-served-by"]) == ("legacy", "async")
    assert legacy.json()["loop"] == target.json()


async def test_async_endpoints_go_on_while_fifty_views_wait(server: str) -> None:
    limits = httpx.Limits(max_connections=THREADS + 1)
    async with httpx.AsyncClient(base_url=server, limits=limits, timeout=10) as client:
        slow = [asyncio.create_task(client.get("/legacy/slow")) for _ in range(THREADS)]
        answered = 0
        while not all(task.done() for task in slow):
            assert (await client.get("/async/loop")).status_code == 200
            answered += 1
        answers = [task.result() for task in slow]
    assert [answer.json() for answer in answers] == [{"waited_s": 0.2}] * THREADS
    assert answered > 5


def test_time_limit_in_a_view_is_an_ordinary_exception(server: str) -> None:
    assert httpx.get(f"{server}/legacy/late").status_code == 500


def test_stopped_server_leaves_the_loop_that_was_before_it(tmp_path: Path) -> None:
    before = portal.run(get_loop())
    with serving(Gateway(make_settings(tmp_path), legacy=make_legacy_app())) as address:
        assert httpx.get(f"http://{address}/legacy/loop").json()["loop"] != id(before)
    assert portal.run(get_loop()) is before
