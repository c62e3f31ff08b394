"""`gateway serve` as a process: how it starts, stops and fails."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import LAUNCH, find_free_port

LEGACY = """
import atexit, os, pathlib, time
from flask import Flask

app = Flask(__name__)
here = pathlib.Path(__file__).parent
atexit.register(lambda: (here / f"atexit-{os.getpid()}").touch())

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/counted")
def counted():
    return str(os.getpid())

@app.get("/slow")
def slow():
    (here / "slow-began").touch()
    while not (here / "slow-may-end").exists():
        time.sleep(0.01)
    return "slow"

@app.get("/endless")
def endless():
    def forever():
        while True:
            yield "."
            time.sleep(0.05)
    return forever()
"""
DEADLINE_S = 20.0


class Server:
    def __init__(self, directory: Path, *options: str, legacy: str = "legacy:app", env: dict[str, str] | None = None):
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "serve.log"
        command = [sys.executable, "-m", "gateway", "serve", "--legacy", legacy, "--port", str(self.port), *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), *command],
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "GATEWAY_ADMIN_TOKEN": "token-of-the-server-tests", **(env or {})},
            )

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/pid").status_code == 200
        except httpx.HTTPError:
            return False

    def health(self) -> dict[str, object]:
        document: dict[str, object] = httpx.get(f"{self.url}/_gateway/health").json()
        return document


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "legacy.py").write_text(LEGACY)
    return tmp_path


@contextmanager
def running(directory: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    server = Server(directory, *options, env=env)
    try:
        wait_for(server.answers, server)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def wait_for(condition: Callable[[], object], server: Server) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fail_to_start(directory: Path, *options: str, legacy: str = "legacy:app", **env: str) -> str:
    server = Server(directory, *options, legacy=legacy, env=env)
    assert server.process.wait(DEADLINE_S) == 1, server.log.read_text()
    return server.log.read_text()


def test_start_report_names_endpoints_url_and_commands(directory: Path) -> None:
    with running(directory) as server:
        report = server.log.read_text()

    assert "GET /pid" in report
    assert f"Gateway ready: open {server.url}" in report
    assert "gateway endpoints" in report or "-m gateway" in report or "__main__.py endpoints" in report


def test_start_report_in_production_keeps_the_token_to_itself(directory: Path) -> None:
    token = "4f1d7c5b9a3e2d8f6a7b"
    with running(directory, env={"GATEWAY_ENVIRONMENT": "production", "GATEWAY_ADMIN_TOKEN": token}) as server:
        report = server.log.read_text()

    assert "Gateway ready" in report
    assert token not in report


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_finishes_what_is_under_way_and_leaves_with_code_0(directory: Path, workers: str) -> None:
    with running(directory, "--workers", workers) as server:
        request = subprocess.Popen(
            [sys.executable, "-c", f"import httpx; print(httpx.get('{server.url}/slow', timeout=20).text)"],
            stdout=subprocess.PIPE,
        )
        wait_for((directory / "slow-began").exists, server)
        server.process.terminate()
        (directory / "slow-may-end").touch()

        assert request.communicate(timeout=DEADLINE_S)[0] == b"slow\n"
        assert server.process.wait(DEADLINE_S) == 0

    assert len(list(directory.glob("atexit-*"))) == int(workers)


def test_endless_answer_is_broken_off_at_the_deadline(directory: Path) -> None:
    with running(directory, env={"GATEWAY_GRACEFUL_SHUTDOWN_S": "1"}) as server:
        with httpx.stream("GET", f"{server.url}/endless") as response:
            chunks = response.iter_raw()
            next(chunks)
            server.process.terminate()
            with pytest.raises(httpx.RemoteProtocolError):
                list(chunks)

        assert server.process.wait(DEADLINE_S) == 0


def test_interrupt_leaves_with_code_0(directory: Path) -> None:
    with running(directory) as server:
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(DEADLINE_S) == 0


def test_killed_worker_is_replaced(directory: Path) -> None:
    with running(directory, "--workers", "2") as server:
        pids = {worker_pid(server) for _ in range(50)}
        os.kill(pids.pop(), signal.SIGKILL)

        wait_for(lambda: worker_count(server) == 2, server)


def test_workers_stop_when_their_supervisor_is_killed(directory: Path) -> None:
    with running(directory, "--workers", "2") as server:
        wait_for(lambda: worker_count(server) == 2, server)
        pids = [worker["pid"] for worker in server.health()["workers"]]  # type: ignore[attr-defined]
        server.process.kill()
        server.process.wait()

        wait_for(lambda: not any(is_running(pid) for pid in pids), server)


def test_any_worker_answers_for_the_traffic_of_all(directory: Path) -> None:
    headers = {"Authorization": "Bearer token-of-the-server-tests"}
    with running(directory, "--workers", "2") as server:
        answered_by: list[str] = []

        def both_have_answered() -> bool:
            answered_by.append(httpx.get(f"{server.url}/counted").text)
            return len(set(answered_by)) == 2

        wait_for(both_have_answered, server)

        wait_for(lambda: all(served(server, headers) == len(answered_by) for _ in range(10)), server)


def served(server: Server, headers: dict[str, str]) -> int:
    document = httpx.get(f"{server.url}/_gateway/endpoints?match=GET /counted", headers=headers).json()
    traffic = document["endpoints"][0]["traffic"].get("legacy", {"requests": 0})
    return int(traffic["requests"])


def worker_pid(server: Server) -> int:
    return int(httpx.get(f"{server.url}/pid").text)


def worker_count(server: Server) -> int:
    try:
        return len(server.health()["workers"])  # type: ignore[arg-type]
    except httpx.HTTPError:
        return 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_missing_app_stops_the_start_with_one_message(directory: Path, workers: str) -> None:
    output = fail_to_start(directory, "--workers", workers, legacy="legacy:ap")

    assert output.count("'legacy' has no 'ap'; did you mean 'app'?") == 1
    assert "Traceback" not in output


def test_exception_in_the_apps_own_code_is_shown_whole(directory: Path) -> None:
    (directory / "broken.py").write_text("import nowhere_to_be_found\n")

    output = fail_to_start(directory, legacy="broken:app")

    assert "No module named 'nowhere_to_be_found'" in output
    assert 'broken.py", line 1' in output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_failing_lifespan_stops_the_start_with_the_real_message(directory: Path, workers: str) -> None:
    (directory / "target.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from fastapi import FastAPI\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('no database at db.test')\n"
        "    yield\n"
        "app = FastAPI(lifespan=lifespan)\n"
    )

    output = fail_to_start(directory, "--target", "target:app", "--workers", workers)

    assert "no database at db.test" in output


def test_undeclared_overlap_stops_the_start_naming_both_rules(directory: Path) -> None:
    (directory / "target.py").write_text(
        "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/new')\ndef new(): return 1\n"
    )
    legacy = "from flask import Flask\napp = Flask(__name__)\n@app.get('/<path:p>')\ndef p(p): return p\n"
    (directory / "catch_all.py").write_text(legacy)

    output = fail_to_start(directory, "--target", "target:app", legacy="catch_all:app")

    assert "'GET /new'" in output
    assert "'/<path:p>'" in output
    assert 'overlaps = { "GET /new" = "async" }' in output


def test_port_in_use_stops_the_start(directory: Path) -> None:
    with running(directory) as server:
        output = fail_to_start(directory, "--port", str(server.port))

    assert "address already in use" in output.lower()


def test_misspelt_variable_is_named(directory: Path) -> None:
    output = fail_to_start(directory, legacy="legacy:ap", GATEWAY_STROE="sqlite:///x.db")

    assert "GATEWAY_STROE is no setting; did you mean GATEWAY_STORE?" in output


def test_script_name_in_the_environment_stops_the_start(directory: Path) -> None:
    server = Server(directory, env={"SCRIPT_NAME": "/api"})

    assert server.process.wait(DEADLINE_S) == 2
    assert "SCRIPT_NAME is set in the environment" in server.log.read_text()
