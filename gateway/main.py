"""`gateway.main:app`, for any ASGI server; `gateway serve` builds the same app through `create_app`."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.app import Gateway
from gateway.importing import load_app
from gateway.settings import Settings, load_settings
from gateway.start_report import print_start_report

logger = logging.getLogger("gateway")


def create_app(
    settings: Settings, *, runtime_dir: Path | None = None, on_started: Callable[[Gateway], None] = lambda gateway: None
) -> Gateway:
    """Import both apps and build the gateway. Raises GatewayError, and whatever the apps raise on import."""
    legacy = load_app(settings.legacy_app) if settings.legacy_app else None
    target = load_app(settings.target_app) if settings.target_app else None
    return Gateway(settings, legacy=legacy, target=target, runtime_dir=runtime_dir, on_started=on_started)


def _report_under_another_server(gateway: Gateway) -> None:
    print_start_report(gateway)
    logger.warning(
        "Not started by 'gateway serve'. So each worker counts its own traffic alone, workers outlive a supervisor "
        "that is killed, and keep-alive, graceful shutdown and X-Forwarded-For are up to this server's options "
        "(uvicorn believes X-Forwarded-For from local peers unless --no-proxy-headers is given). Reason phrases, "
        "trailers and HTTP/1.0 clients are as gunicorn has them only with "
        "--http gateway.http_protocol:GatewayHttpProtocol"
    )


def __getattr__(name: str) -> Any:
    # On first access, not on import: importing a module reads no environment and opens nothing (PEP 562).
    if name == "app":
        app = create_app(load_settings(), on_started=_report_under_another_server)
        globals()["app"] = app
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
