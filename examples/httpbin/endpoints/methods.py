"""Endpoints that show the request back, one for each method and one for all."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from examples.httpbin.endpoints import ANY, READ
from examples.httpbin.request import Echo, RequestEcho
from examples.httpbin.responses import SortedJSONResponse

router = APIRouter()

WITH_BODY = ("url", "args", "form", "data", "origin", "headers", "files", "json")


@router.api_route("/get", methods=READ)
async def show_get(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe("url", "args", "headers", "origin"))


@router.post("/post")
async def show_post(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe(*WITH_BODY))


@router.put("/put")
async def show_put(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe(*WITH_BODY))


@router.patch("/patch")
async def show_patch(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe(*WITH_BODY))


@router.delete("/delete")
async def show_delete(echo: RequestEcho) -> Response:
    return SortedJSONResponse(await echo.describe(*WITH_BODY))


@router.api_route("/anything", methods=ANY)
async def show_anything(echo: RequestEcho) -> Response:
    return await _show_anything(echo)


@router.api_route("/anything/{anything:path}", methods=ANY)
async def show_anything_below(anything: str, echo: RequestEcho) -> Response:
    # Starlette's path convertor takes more than Werkzeug's.
    if not anything or anything.startswith("/"):
        raise HTTPException(404)
    return await _show_anything(echo)


async def _show_anything(echo: Echo) -> Response:
    return SortedJSONResponse(await echo.describe(*WITH_BODY, "method"))
