"""Redirects that lead to `/get` in n steps."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from examples.httpbin.endpoints import READ
from examples.httpbin.query import first_values
from examples.httpbin.request import Echo, RequestEcho
from examples.httpbin.responses import redirect

router = APIRouter()


@router.api_route("/redirect/{n:int}", methods=READ)
async def redirect_n_times(n: int, echo: RequestEcho) -> Response:
    absolute = first_values(echo.args).get("absolute", "false").lower() == "true"
    kind = "absolute" if absolute else "relative"
    return redirect((_base(echo) if absolute else "") + _next_step(kind, n))


@router.api_route("/absolute-redirect/{n:int}", methods=READ)
async def redirect_absolutely(n: int, echo: RequestEcho) -> Response:
    return redirect(_base(echo) + _next_step("absolute", n))


@router.api_route("/relative-redirect/{n:int}", methods=READ)
async def redirect_relatively(n: int) -> Response:
    return HTMLResponse(status_code=302, headers={"Location": _next_step("relative", n)})


def _base(echo: Echo) -> str:
    return f"{echo.scheme}://{echo.host}"


def _next_step(kind: str, n: int) -> str:
    if n < 1:
        raise ValueError("there is no redirect of no steps")
    return "/get" if n == 1 else f"/{kind}-redirect/{n - 1}"
