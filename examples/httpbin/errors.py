"""Flask's error pages."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.httpbin.paths import find_merged_target
from examples.httpbin.request import Echo
from examples.httpbin.responses import redirect

logger = logging.getLogger(__name__)

PAGE = """\
<!doctype html>
<html lang=en>
<title>{status_code} {name}</title>
<h1>{name}</h1>
<p>{description}</p>
"""

NAMES_AND_DESCRIPTIONS = {
    404: (
        "Not Found",
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling"
        " and try again.",
    ),
    405: ("Method Not Allowed", "The method is not allowed for the requested URL."),
    413: ("Request Entity Too Large", "The data value transmitted exceeds the capacity limit."),
    500: (
        "Internal Server Error",
        "The server encountered an internal error and was unable to complete your request. Either the server is"
        " overloaded or there is an error in the application.",
    ),
}


class ServerErrors:
    """Answers an exception with Flask's page and logs it, as Flask does.

    Starlette's own layer for this is outside of all middleware: its answer would lack the CORS headers, and since it
    raises again, uvicorn would close the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started = False

        async def track_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, track_start)
        except Exception:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await error_page(500)(scope, receive, send)


def error_page(status_code: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    name, description = NAMES_AND_DESCRIPTIONS[status_code]
    page = PAGE.format(status_code=status_code, name=name, description=description)
    return HTMLResponse(page, status_code, headers)


async def answer_not_found(request: Request, error: HTTPException) -> Response:
    target = find_merged_target(request)
    if target is None:
        return error_page(404)
    echo = Echo(request)
    return redirect(f"{echo.scheme}://{echo.host}{target}", 308)


async def answer_method_not_allowed(request: Request, error: HTTPException) -> Response:
    """Also the answer to OPTIONS, which Flask gives for every view."""
    allow = {"Allow": (error.headers or {})["Allow"] + ", OPTIONS"}
    return HTMLResponse(headers=allow) if request.method == "OPTIONS" else error_page(405, allow)


async def answer_too_large(request: Request, error: HTTPException) -> Response:
    return error_page(413)


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    404: answer_not_found,
    405: answer_method_not_allowed,
    413: answer_too_large,
}
