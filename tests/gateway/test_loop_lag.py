import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest
import uvloop

from gateway import loop_lag
from gateway.loop_lag import LoopLagMonitor, Place

THRESHOLD_S = 0.1
BLOCK_S = 0.4
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


async def block(seconds: float = BLOCK_S) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - what is to be found


async def block_elsewhere() -> None:
    time.sleep(BLOCK_S)  # noqa: ASYNC251


async def block_deep_inside() -> None:
    subprocess.run([sys.executable, "-S", "-c", f"import time; time.sleep({BLOCK_S})"], check=True)  # noqa: ASYNC221


async def compute() -> None:
    until = time.monotonic() + BLOCK_S
    while time.monotonic() < until:
        pass


async def wait() -> None:
    await asyncio.sleep(BLOCK_S)


def watch(*steps: Callable[[], Awaitable[None]], new_loop: NewLoop = asyncio.new_event_loop) -> LoopLagMonitor:
    """Run the steps on a loop that is watched, each after some heartbeats."""

    async def run() -> LoopLagMonitor:
        monitor = LoopLagMonitor(THRESHOLD_S)
        monitor.start()
        try:
            for step in steps:
                await asyncio.sleep(0.15)
                await asyncio.create_task(in_app(step))
            await asyncio.sleep(0.15)
        finally:
            monitor.stop()
        return monitor

    async def in_app(step: Callable[[], Awaitable[None]]) -> None:
        await step()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
    return [record.getMessage() for record in caplog.records if record.name == "gateway.loop_lag"]


@LOOPS
def test_blocking_call_is_named(caplog: pytest.LogCaptureFixture, new_loop: NewLoop) -> None:
    monitor = watch(block, new_loop=new_loop)
    [message] = messages(caplog)
    line = block.__code__.co_firstlineno + 1
    assert f"{__file__}:{line} block:" in message
    seconds = float(message.partition("at least ")[2].partition(" s")[0])
    assert BLOCK_S - loop_lag.HEARTBEAT_S - 0.05 < seconds <= monitor.max_lag_s + 0.01
    assert monitor.blocked_count >= 1


@LOOPS
def test_computation_is_named(caplog: pytest.LogCaptureFixture, new_loop: NewLoop) -> None:
    watch(compute, new_loop=new_loop)
    [message] = messages(caplog)
    assert " compute:" in message


def test_callback_without_a_task_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def call_back() -> None:
        time.sleep(BLOCK_S)

    async def schedule() -> None:
        asyncio.get_running_loop().call_soon(call_back)

    watch(schedule)
    [message] = messages(caplog)
    assert "call_back:" in message


def test_own_code_is_named_before_the_library_it_has_called(caplog: pytest.LogCaptureFixture) -> None:
    watch(block_deep_inside)
    [message] = messages(caplog)
    assert " block_deep_inside (inside " in message
    assert f"{loop_lag._STDLIB[0]}subprocess.py" in message


def test_library_is_named_where_no_own_code_runs(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The code is where pip would have put it; what calls it is Python's own."""
    file = tmp_path / "site-packages" / "library.py"
    file.parent.mkdir()
    file.write_text(f"import time\nasync def connect():\n    time.sleep({BLOCK_S})\n")
    library = ModuleType("library")
    exec(compile(file.read_text(), file, "exec"), library.__dict__)

    async def schedule() -> None:
        schedule.task = asyncio.create_task(library.connect())  # type: ignore[attr-defined]

    watch(schedule)
    [message] = messages(caplog)
    assert f"{file}:3 connect:" in message


@LOOPS
def test_nothing_is_said_of_a_loop_that_waits(caplog: pytest.LogCaptureFixture, new_loop: NewLoop) -> None:
    monitor = watch(wait, new_loop=new_loop)
    assert messages(caplog) == []
    assert monitor.max_lag_s < BLOCK_S


@LOOPS
def test_slow_threads_are_not_reported(caplog: pytest.LogCaptureFixture, new_loop: NewLoop) -> None:
    def compute() -> None:
        while not stopped.is_set():
            sum(range(1000))

    stopped = threading.Event()
    threads = [threading.Thread(target=compute), *(threading.Thread(target=stopped.wait) for _ in range(4))]
    for thread in threads:
        thread.start()
    try:
        watch(wait, new_loop=new_loop)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert messages(caplog) == []


@LOOPS
def test_stall_in_which_the_loop_runs_nothing_is_counted_and_not_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, new_loop: NewLoop
) -> None:
    """As if the process had been suspended: the heartbeat is late, though the loop waits."""
    monkeypatch.setattr(loop_lag, "HEARTBEAT_S", 0.5)

    async def expect_heartbeats_earlier() -> None:
        monitor._due -= 0.4
        await asyncio.sleep(0.6)

    async def run() -> None:
        monitor.start()
        await asyncio.sleep(0.05)
        await expect_heartbeats_earlier()
        monitor.stop()

    monitor = LoopLagMonitor(THRESHOLD_S)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
    assert messages(caplog) == []
    assert monitor.blocked_count >= 1


def test_same_place_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    monitor = watch(block, block, block_elsewhere, block)
    names = [message.partition(": all")[0].rpartition(" ")[2] for message in messages(caplog)]
    assert names == ["block", "block_elsewhere"]
    assert monitor.blocked_count >= 4


def test_same_place_is_reported_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_lag, "SAME_PLACE_S", 0.05)
    watch(block, block)
    assert len(messages(caplog)) == 2


def test_block_without_an_end_is_reported_meanwhile(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_lag, "STILL_BLOCKED_S", 0.2)
    seen: list[str] = []

    async def hang() -> None:
        until = time.monotonic() + 5
        while not seen and time.monotonic() < until:
            time.sleep(0.01)  # noqa: ASYNC251
            seen.extend(messages(caplog))

    watch(hang)
    [message] = seen
    assert message.startswith("the event loop has been blocked for 0.2 s, and still is, by ")
    assert messages(caplog) == [message]


def test_heart_beats_ten_times_a_second_at_most() -> None:
    async def count_beats() -> int:
        beats = 0

        class Counted(LoopLagMonitor):
            def _beat(self) -> None:
                nonlocal beats
                beats += 1
                super()._beat()

        monitor = Counted()
        monitor.start()
        await asyncio.sleep(1.05)
        monitor.stop()
        return beats

    assert asyncio.run(count_beats()) <= 11


@LOOPS
def test_stopped_monitor_leaves_nothing_behind_and_can_start_again(new_loop: NewLoop) -> None:
    async def run() -> None:
        monitor = LoopLagMonitor(THRESHOLD_S)
        monitor.stop()
        for _ in range(2):
            monitor.start()
            await asyncio.sleep(0.05)
            assert "loop lag" in [thread.name for thread in threading.enumerate()]
            monitor.stop()
            assert "loop lag" not in [thread.name for thread in threading.enumerate()]
        monitor.start()
        monitor.stop()  # before its first beat
        await asyncio.sleep(0.05)
        assert "loop lag" not in [thread.name for thread in threading.enumerate()]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_place_is_written_as_editors_read_it() -> None:
    assert str(Place("/app/news.py", 31, "fetch_news")) == "/app/news.py:31 fetch_news"
