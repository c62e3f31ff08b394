from fastapi import APIRouter
from starlette.responses import Response

from examples.httpbin.cookies import delete_cookie, parse_cookies, set_cookie
from examples.httpbin.endpoints import READ
from examples.httpbin.query import first_values
from examples.httpbin.request import RequestEcho
from examples.httpbin.responses import SortedJSONResponse, redirect

router = APIRouter()

# Analytics of the site that hosts httpbin; shown only to those who ask with `?show_env`.
HIDDEN_COOKIES = {
    "__utma",
    "__utmb",
    "__utmz",
    "_gauges_unique",
    "_gauges_unique_day",
    "_gauges_unique_hour",
    "_gauges_unique_month",
    "_gauges_unique_year",
}


@router.api_route("/cookies", methods=READ)
async def show_cookies(echo: RequestEcho) -> Response:
    cookies = first_values(parse_cookies(echo.headers.get("Cookie", "")))
    hidden = set() if echo.has_arg("show_env") else HIDDEN_COOKIES
    return SortedJSONResponse({"cookies": {name: value for name, value in cookies.items() if name not in hidden}})


@router.api_route("/cookies/set", methods=READ)
async def set_cookies(echo: RequestEcho) -> Response:
    response = redirect("/cookies")
    for name, value in first_values(echo.args).items():
        set_cookie(response, name, value, secure=echo.scheme == "https")
    return response


@router.api_route("/cookies/set/{name}/{value}", methods=READ)
async def set_one_cookie(name: str, value: str, echo: RequestEcho) -> Response:
    response = redirect("/cookies")
    set_cookie(response, name, value, secure=echo.scheme == "https")
    return response


@router.api_route("/cookies/delete", methods=READ)
async def delete_cookies(echo: RequestEcho) -> Response:
    response = redirect("/cookies")
    for name in first_values(echo.args):
        delete_cookie(response, name)
    return response
