"""`gateway serve`: the gateway under uvicorn, in one process or several."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.app import Gateway
from gateway.errors import GatewayError
from gateway.http_protocol import GatewayHttpProtocol
from gateway.main import create_app
from gateway.settings import Settings
from gateway.start_report import print_start_report

logger = logging.getLogger("gateway")

PARENT_CHECK_S = 1.0


def serve(settings: Settings) -> int:
    """Serve until told to stop. Returns the process's exit code: 0, or 1 if it could not start."""
    # One token for all workers, wherever it comes from.
    settings = settings.model_copy(update={"admin_token": SecretStr(settings.token)})
    with tempfile.TemporaryDirectory(prefix="gateway-") as runtime_dir:
        config = _config(settings)
        try:
            listener = config.bind_socket()
        except SystemExit:  # uvicorn has logged why
            return 1
        # From here on a client waits instead of being refused, so that a URL that is printed can be opened.
        listener.listen(config.backlog)
        config.app = partial(create_worker, settings, Path(runtime_dir), _address(listener), os.getpid())
        if settings.workers == 1:
            return _run_one(uvicorn.Server(config), [listener])
        return _run_many(Multiprocess(config, sockets=[listener]))


def _address(listener: socket.socket) -> str:
    """What was bound: with port 0 the settings cannot tell."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class WorkerConfig(uvicorn.Config):
    """Uvicorn's configuration, with an end that lets `atexit` hooks run and leaves with code 0."""

    def get_loop_factory(self) -> Any:
        # Called in each worker before the server takes over the signals. When it has shut down it raises the signal
        # again for whoever handled it before: by default that kills the process on the spot (Kludex/uvicorn#1600).
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        return super().get_loop_factory()


def _run_one(server: uvicorn.Server, sockets: list[Any]) -> int:
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        return 0
    except SystemExit as exc:
        return 1 if exc.code else 0
    return 0 if server.started else 1


def _run_many(supervisor: Multiprocess) -> int:
    supervisor.run()
    return 1 if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes) else 0


def _config(settings: Settings) -> WorkerConfig:
    return WorkerConfig(
        "gateway.main:app",  # until the address is bound; then a worker's own
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=GatewayHttpProtocol,
        ws="websockets-sansio",
        lifespan="on",
        interface="asgi3",
        # Uvicorn would believe X-Forwarded-For from any local process; the app's own ProxyFix knows its proxies.
        proxy_headers=False,
        access_log=settings.access_log,
        log_level=settings.log_level,
        log_config=_log_config(settings.log_level),
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.graceful_shutdown_s,
    )


def _log_config(level: str) -> dict[str, Any]:
    loggers = {**LOGGING_CONFIG["loggers"], "gateway": {"handlers": ["default"], "level": level.upper()}}
    return {**LOGGING_CONFIG, "loggers": loggers}


def create_worker(settings: Settings, runtime_dir: Path, address: str, parent_pid: int) -> Gateway:
    """The gateway in a worker process. What stops it from starting is said once, however many workers there are."""

    def on_started(gateway: Gateway) -> None:
        watches.add(asyncio.create_task(_stop_with_parent(parent_pid), name="parent watch"))
        if _is_first(runtime_dir):
            print_start_report(gateway, address)

    watches: set[asyncio.Task[None]] = set()  # the loop keeps no reference of its own
    try:
        return create_app(settings, runtime_dir=runtime_dir, on_started=on_started)
    except GatewayError as exc:
        if _is_first(runtime_dir):
            logger.error("The gateway cannot start:\n%s", exc)
    except Exception:
        if _is_first(runtime_dir):
            logger.exception("The gateway cannot start: an app raised an exception while it was imported")
    sys.exit(STARTUP_FAILURE)


async def _stop_with_parent(parent_pid: int) -> None:
    """A worker whose supervisor was killed would serve for ever, and hold the port against the next one."""
    while os.getpid() == parent_pid or os.getppid() == parent_pid:  # noqa: ASYNC110 - nothing announces that death
        await asyncio.sleep(PARENT_CHECK_S)
    logger.error("the supervising process is gone: this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)


def _is_first(runtime_dir: Path) -> bool:
    """Whether this is the first worker to ask: what concerns all of them is said by one."""
    try:
        (runtime_dir / "announced").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
