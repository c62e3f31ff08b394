"""Real HTTP servers in processes of their own."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import LAUNCH, find_free_port

ROOT = Path(__file__).parents[2]

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


@contextmanager
def serve_wsgi(app: str) -> Iterator[int]:
    """The port of a gunicorn with one gthread worker."""
    port = find_free_port()
    options = ["-k", "gthread", "-w", "1", "--threads", "8", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    with serve(["-m", "gunicorn", *options, app], port):
        yield port


@contextmanager
def serve_asgi(app: str) -> Iterator[int]:
    """The port of a uvicorn with the parser and the event loop that the gateway uses."""
    port = find_free_port()
    options = ["--http", "httptools", "--loop", "uvloop", "--port", str(port), "--no-access-log"]
    with serve(["-m", "uvicorn", *options, app], port):
        yield port


@contextmanager
def serve(arguments: list[str], port: int) -> Iterator[None]:
    """Runs Python with the arguments while the block runs. Never outlives the test process."""
    launch = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid())]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*launch, sys.executable, *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(arguments)} did not start:\n{log.read()}")
                time.sleep(0.02)
            yield
        finally:
            _stop(process)


def _answers(port: int) -> bool:
    """Whether the application answers, not just the listening socket that gunicorn opens before it loads the app."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
