"""Names the code that blocks the event loop."""

import asyncio
import logging
import sys
import sysconfig
import threading
from collections.abc import Iterator
from os import sep
from pathlib import Path
from time import monotonic
from types import CodeType, FrameType
from typing import NamedTuple, Self

logger = logging.getLogger("gateway.loop_lag")

HEARTBEAT_S = 0.1
# A process that was suspended looks blocked until its loop has had a turn: look twice.
SECOND_LOOK_S = 0.02
# What never ends would never be named.
STILL_BLOCKED_S = 10.0
SAME_PLACE_S = 60.0
MAX_REMEMBERED_PLACES = 1000

_STDLIB = tuple(sysconfig.get_path(name) + sep for name in ("stdlib", "platstdlib"))
_INSTALLED = (f"{sep}site-packages{sep}", f"{sep}dist-packages{sep}")
_GATEWAY = str(Path(__file__).parent) + sep
# Where asyncio's own loops wait for something to happen; uvloop waits outside of Python.
_WAITING = ("selectors.py", "windows_events.py")


class Place(NamedTuple):
    """A line of code that was being executed."""

    file: str
    line: int
    function: str

    @classmethod
    def of(cls, frame: FrameType) -> Self:
        return cls(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


class Culprit(NamedTuple):
    """`place`: the innermost code of the app's own, if there is any; `inside`: what that had called."""

    place: Place
    inside: Place


class LoopLagMonitor:
    """A heartbeat on the event loop, and a thread that looks at what the loop runs when the heartbeat fails to come.

    One warning for each place and minute. A stall in which the loop runs nothing is counted but not logged: other
    threads held the interpreter, or the machine was overloaded or asleep.
    """

    def __init__(self, threshold_s: float = 0.25) -> None:
        """`threshold_s`: how late a heartbeat may be."""
        self.threshold_s = threshold_s
        self.max_lag_s = 0.0
        """The longest delay of a heartbeat so far."""
        self.blocked_count = 0
        """How many heartbeats were later than the threshold."""
        self._due = 0.0
        self._lag_s = 0.0
        self._timer: asyncio.Handle | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._loop_thread = 0
        self._loop_code: frozenset[CodeType] = frozenset()
        self._reported: dict[Place, float] = {}

    def start(self) -> None:
        """Watch the loop that runs here, from its next turn on."""
        self._timer = asyncio.get_running_loop().call_soon(self._begin)

    def stop(self) -> None:
        """Called on the loop; a stopped monitor can be started again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None

    # --- on the event loop -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        # What is below a callback on the stack is the loop, and what runs it: never to blame.
        self._loop_code = frozenset(frame.f_code for frame in _stack(sys._getframe().f_back))
        self._loop_thread = threading.get_ident()
        self._due = monotonic()
        self._beat()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop lag", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        now = monotonic()
        self._lag_s = now - self._due
        self.max_lag_s = max(self.max_lag_s, self._lag_s)
        if self._lag_s > self.threshold_s:
            self.blocked_count += 1
        self._due = now + HEARTBEAT_S
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._beat)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            due = self._due
            if self._stopped.wait(due + self.threshold_s - monotonic()):
                return
            if self._due == due:
                if self._stopped.wait(SECOND_LOOK_S):
                    return
                if self._due == due:
                    self._examine(due)

    def _examine(self, due: float) -> None:
        culprit = self._find_culprit()
        has_reported = False
        while self._due == due:
            if self._stopped.wait(SECOND_LOOK_S):
                return
            if culprit is not None and not has_reported and monotonic() - due > STILL_BLOCKED_S:
                has_reported = True
                self._report(culprit, f"has been blocked for {STILL_BLOCKED_S:g} s, and still is,")
        if culprit is not None and not has_reported:
            self._report(culprit, f"was blocked for at least {self._lag_s:.2f} s")

    def _find_culprit(self) -> Culprit | None:
        """What the loop runs now; None if it does not run anything."""
        frames: list[FrameType] = []
        for frame in _stack(sys._current_frames().get(self._loop_thread)):
            if frame.f_code is LoopLagMonitor._beat.__code__:
                return None  # it is about to tell
            if frame.f_code in self._loop_code:
                break
            frames.append(frame)
        if not frames or frames[0].f_code.co_filename.endswith(_WAITING):
            return None
        own = next(filter(_is_app, frames), None) or next(filter(_is_installed, frames), None) or frames[0]
        return Culprit(Place.of(own), Place.of(frames[0]))

    def _report(self, culprit: Culprit, what: str) -> None:
        place, inside = culprit
        now = monotonic()
        if now - self._reported.get(place, -SAME_PLACE_S) < SAME_PLACE_S:
            return
        if len(self._reported) >= MAX_REMEMBERED_PLACES:
            self._reported.clear()
        self._reported[place] = now
        within = "" if inside == place else f" (inside {inside})"
        logger.warning(
            "the event loop %s by %s%s: all clients had to wait. Await an async library there, or run it in a thread",
            what,
            place,
            within,
        )


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost frame outwards."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_app(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not (_is_stdlib(file) or file.startswith(_GATEWAY) or any(part in file for part in _INSTALLED))


def _is_installed(frame: FrameType) -> bool:
    """A library's, or that of an app that was installed as one."""
    file = frame.f_code.co_filename
    return not (_is_stdlib(file) or file.startswith(_GATEWAY))


def _is_stdlib(file: str) -> bool:
    if file.startswith("<frozen "):
        return True
    return file.startswith(_STDLIB) and not any(part in file for part in _INSTALLED)
