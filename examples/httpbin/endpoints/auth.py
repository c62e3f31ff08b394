import base64

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from examples.httpbin.endpoints import READ
from examples.httpbin.endpoints.status import status_answer
from examples.httpbin.request import RequestEcho
from examples.httpbin.responses import SortedJSONResponse

router = APIRouter()

BEARER = "Bearer "


@router.api_route("/basic-auth/{user}/{passwd}", methods=READ)
async def check_basic_auth(user: str, passwd: str, echo: RequestEcho) -> Response:
    if _parse_basic_auth(echo.headers.get("Authorization", "")) != (user, passwd):
        return status_answer(401)
    return SortedJSONResponse({"authenticated": True, "user": user})


@router.api_route("/bearer", methods=READ)
async def check_bearer(echo: RequestEcho) -> Response:
    authorization = echo.headers.get("Authorization", "")
    if not authorization.startswith(BEARER):
        return HTMLResponse(status_code=401, headers={"WWW-Authenticate": "Bearer"})
    return SortedJSONResponse({"authenticated": True, "token": authorization.removeprefix(BEARER)})


def _parse_basic_auth(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded.strip(" \t"), validate=True).decode().partition(":")
    except ValueError:
        return None
    return user, password
