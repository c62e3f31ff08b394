"""Run a coroutine from a Flask view, on the event loop that the server runs."""

import asyncio
import atexit
import os
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from gateway.errors import GatewayError

T = TypeVar("T")

# How long a coroutine may take to end once it was cancelled; after that nobody waits for it any more.
CANCEL_GRACE_S = 1.0
# A loop that stops tells nobody: whoever waits for it looks this often.
CHECK_EVERY_S = 1.0
# How long the end of the process may be held up by the background loop.
EXIT_GRACE_S = 2.0


class LoopStoppedError(GatewayError, RuntimeError):
    """The event loop that was to run the coroutine is ending; the coroutine may have begun."""

    def __init__(self) -> None:
        super().__init__("the event loop has stopped, since its server or this process is ending: try another one")


def run(coro: Coroutine[Any, Any, T], *, timeout: float | timedelta | None = None) -> T:
    """Wait in this thread for what the coroutine returns; what it raises is raised here, with its traceback.

    Under the gateway the coroutine runs on the server's loop, and so shares connection pools with the async endpoints.
    Elsewhere (gunicorn, tests, scripts) it runs on one background loop of this process. It sees this thread's context
    variables, Flask's `request` among them, in a copy as a task does: what it sets in them ends with it.

    After `timeout` (seconds) it is cancelled and TimeoutError raised; if it still ends in another way, that counts, as
    with `asyncio.timeout`. An exception in the waiting thread, such as KeyboardInterrupt, cancels it as well. Either
    way it has a second to clean up, and goes on unattended if that is not enough. Raises RuntimeError where a loop runs
    in this very thread, which would be blocked, and LoopStoppedError.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError(f"portal.run needs a coroutine, which a call of an 'async def' makes, not {coro!r}")
    try:
        _refuse_to_block_a_loop()
        call = _Call(coro, _loops.find())
        call.submit()
    except BaseException:
        coro.close()
        raise
    try:
        return call.wait(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)
    finally:
        del call  # it would live on in the traceback of an exception


@contextmanager
def use_loop(loop: AbstractEventLoop) -> Iterator[None]:
    """Have `run` use this loop, the server's, until the block ends. Of several the last one counts."""
    loops = _loops
    loops.add(loop)
    try:
        yield
    finally:
        loops.release(loop)


class _Call(Generic[T]):
    """One coroutine on its way through a loop."""

    __slots__ = ("_claim", "_coro", "_ended", "_error", "_loop", "_result", "_task")

    def __init__(self, coro: Coroutine[Any, Any, T], loop: AbstractEventLoop) -> None:
        self._coro = coro
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        # Taken once: by whoever starts the coroutine, or has it never start.
        self._claim = threading.Lock()
        # Held until the end. A bare lock, because an Event makes the whole call a tenth slower.
        self._ended = threading.Lock()
        self._ended.acquire()

    # --- in the calling thread ---------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Raises LoopStoppedError; the coroutine is then still the caller's."""
        if not self._loop.is_running():
            raise LoopStoppedError
        try:
            self._loop.call_soon_threadsafe(self._start, context=copy_context())
        except RuntimeError as error:
            raise LoopStoppedError from error

    def wait(self, timeout_s: float | None) -> T:
        is_late = False
        try:
            has_ended = self._has_ended_by(None if timeout_s is None else monotonic() + timeout_s)
            if not has_ended:
                is_late = True
                has_ended = self._cancel()
        except LoopStoppedError:
            raise
        except BaseException:
            with suppress(LoopStoppedError):
                self._cancel()
            raise
        error, self._error = self._error, None
        try:
            if not has_ended or (is_late and isinstance(error, asyncio.CancelledError)):
                raise TimeoutError(f"the coroutine took longer than {timeout_s:g} s") from error
            if isinstance(error, asyncio.CancelledError) and _loops.is_ending(self._loop):
                raise LoopStoppedError from error
            if error is not None:
                raise error
            return cast(T, self._result)
        finally:
            del error  # a cycle through its traceback

    def _has_ended_by(self, deadline: float | None) -> bool:
        """Raises LoopStoppedError if the coroutine cannot end any more."""
        while True:
            left = CHECK_EVERY_S if deadline is None else max(deadline - monotonic(), 0)
            if self._ended.acquire(timeout=min(left, CHECK_EVERY_S)):
                return True
            if not self._loop.is_running():
                self._end_unstarted()
                raise LoopStoppedError
            if left <= CHECK_EVERY_S and deadline is not None:
                return False

    def _cancel(self) -> bool:
        """Whether the coroutine has ended by that."""
        if self._end_unstarted():
            return True
        with suppress(RuntimeError):  # closed meanwhile
            self._loop.call_soon_threadsafe(self._cancel_on_loop)
        return self._has_ended_by(monotonic() + CANCEL_GRACE_S)

    def _end_unstarted(self) -> bool:
        """Whether it was in time for that. On the loop, too."""
        if not self._claim.acquire(blocking=False):
            return False
        self._coro.close()
        self._error = asyncio.CancelledError()
        self._ended.release()
        return True

    # --- on the event loop -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._task = self._loop.create_task(self._drive())
        self._task.add_done_callback(self._end)

    async def _drive(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        # Catches SystemExit, too, which would stop the server if it reached the loop.
        try:
            self._result = await self._coro
        except BaseException as error:
            self._error = error
        self._ended.release()

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            self._end_unstarted()

    def _cancel_on_loop(self) -> None:
        assert self._task is not None
        self._task.cancel()


class _Background:
    """A loop in a daemon thread, for a process whose server has none."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.is_ending = False
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._work, name="portal", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def has_died(self) -> bool:
        """A task that raises SystemExit ends its loop."""
        return not self._thread.is_alive() and not self.is_ending

    def close(self) -> None:
        """Let what runs be cancelled and clean up, as at the end of `asyncio.run`."""
        self.is_ending = True
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(EXIT_GRACE_S)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._started.set()
        await self._stop.wait()


class _Loops:
    """The loops of this process."""

    def __init__(self) -> None:
        self._serving: list[AbstractEventLoop] = []
        self._released: AbstractEventLoop | None = None
        self._background: _Background | None = None
        self._lock = threading.Lock()

    def add(self, loop: AbstractEventLoop) -> None:
        with self._lock:
            self._serving.append(loop)

    def release(self, loop: AbstractEventLoop) -> None:
        with self._lock:
            self._serving.remove(loop)
            self._released = loop

    def find(self) -> AbstractEventLoop:
        with self._lock:
            if self._serving:
                return self._serving[-1]
            if self._released is not None and self._released.is_running():
                # Not the background loop: what the app holds is bound to the server's.
                raise LoopStoppedError
            if self._background is None or self._background.has_died:
                self._background = _Background()
            return self._background.loop

    def is_ending(self, loop: AbstractEventLoop) -> bool:
        background = self._background
        return loop is self._released or (background is not None and background.is_ending and loop is background.loop)

    def close(self) -> None:
        if self._background is not None:
            self._background.close()


def _refuse_to_block_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("portal.run would block the event loop that runs in this thread: await the coroutine instead")


def _forget_loops() -> None:
    """A forked process has none of its parent's threads, and must not touch the pipe that wakes the parent's loop."""
    global _loops
    _loops = _Loops()


_loops = _Loops()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_loops)
# Looked up at exit: a forked process has other ones then.
atexit.register(lambda: _loops.close())
