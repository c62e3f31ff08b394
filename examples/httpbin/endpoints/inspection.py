"""Endpoints that show one aspect of the request."""

from fastapi import APIRouter
from starlette.responses import Response

from examples.httpbin.endpoints import READ
from examples.httpbin.request import RequestEcho
from examples.httpbin.responses import SortedJSONResponse

router = APIRouter()


@router.api_route("/headers", methods=READ)
async def show_headers(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe("headers"))


@router.api_route("/ip", methods=READ)
async def show_ip(echo: RequestEcho) -> Response:
    return SortedJSONResponse({"origin": echo.origin})


@router.api_route("/user-agent", methods=READ)
async def show_user_agent(echo: RequestEcho) -> Response:
    return SortedJSONResponse({"user-agent": echo.headers.get("User-Agent")})
