"""The truth and what claims to be the same: gunicorn, the gateway, and the gateway with stock a2wsgi as its bridge."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.examples.servers import serve
from tests.fidelity.raw import Connection, Exchange, build
from tests.servers import find_free_port

APP = "tests.fidelity.app:app"
THREADS = 40
POLL_S = 0.01

_keys = itertools.count()
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A running server of `app`."""

    name: str
    port: int

    def connect(self) -> Connection:
        return Connection(self.port)

    def exchange(self, *pieces: bytes, method: str = "GET") -> Exchange:
        """Sends a request, piece by piece, and returns what became of it and of the connection."""
        with self.connect() as connection:
            connection.send_as_long_as_it_listens(*pieces)
            answer = connection.read_answer(method)
            return Exchange(answer, connection.state(answer) if answer is not None else "closed")

    def get(self, target: str) -> Any:
        """The JSON value, or text, of a complete answer with status 200."""
        with self.connect() as connection:
            connection.send(build("GET", target, [("Connection", "close")]))
            answer = connection.read_answer()
        assert answer is not None
        assert (answer.status, answer.complete) == (200, True), answer
        return json.loads(answer.body) if "json" in answer.headers["content-type"][0] else answer.body.decode()

    def events(self, key: str) -> list[str]:
        """What happened to the request of this id so far."""
        events: list[str] = self.get(f"/events/{key}")
        return events

    def wait_for(self, key: str, event: str, within_s: float = 10.0) -> list[str]:
        """All events of the request, once it has this one."""
        return eventually(lambda: self.events(key), lambda events: event in events, within_s)

    def active(self) -> int:
        """Requests under way, without the one that asks."""
        number: int = self.get("/process")["active"]
        return number

    def assert_all_threads_are_free(self) -> None:
        """So many requests at once are all answered, though none is before all of them have a thread."""
        with ThreadPoolExecutor(THREADS) as clients:
            assert set(clients.map(self.get, [f"/barrier/{THREADS}"] * THREADS)) == {"all here"}

    @property
    def pid(self) -> int:
        """Of the process that runs the app."""
        pid: int = self.get("/process")["pid"]
        return pid

    def memory(self) -> "Memory":
        return Memory(self.pid)


class Memory:
    """How much more of it a process had at its peak than when this object was made."""

    def __init__(self, pid: int) -> None:
        self._directory = Path(f"/proc/{pid}")
        (self._directory / "clear_refs").write_text("5")  # resets the peak: proc(5)
        self._before = self._read("VmRSS")

    def growth_bytes(self) -> int:
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        lines = (self._directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def serve_gunicorn() -> Iterator[Server]:
    port = find_free_port()
    options = ["-k", "gthread", "-w", "1", "--threads", str(THREADS), "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    with serve(["-m", "gunicorn", *options, APP], port):
        yield Server("gunicorn", port)


@contextmanager
def serve_gateway(directory: Path, **settings: Any) -> Iterator[Server]:
    """The gateway with these `settings` beside the defaults."""
    port = find_free_port()
    given = {"state_dir": directory, "store": f"sqlite:///{directory}/plan.db", "legacy_threads": THREADS, **settings}
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(f"GATEWAY_{name.upper()}", str(value))
            stack.enter_context(serve(["-m", "gateway", "serve", "--legacy", APP, "--port", str(port)], port))
        yield Server(settings.get("bridge", "gateway"), port)


@contextmanager
def killed_at_the_end(server: Server) -> Iterator[int]:
    """The pid of a server that may not be able to stop any more."""
    pid = server.pid
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """False for a zombie too: it waits to be asked for its exit code."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def new_key() -> str:
    """For the `id` of a request; the same on every server that is sent it."""
    return f"request-{next(_keys)}"


def eventually(get: Callable[[], T], condition: Callable[[T], object], within_s: float = 10.0) -> T:
    """What `get` returns once that meets the condition."""
    deadline = time.monotonic() + within_s
    while not condition(value := get()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {value!r}"
        time.sleep(POLL_S)
    return value
