"""Endpoints that answer in a given format or with given headers."""

import gzip
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from examples.httpbin.endpoints import READ
from examples.httpbin.query import Pairs, group_pairs
from examples.httpbin.request import RequestEcho
from examples.httpbin.responses import SortedJSONResponse, add_header, dump_json
from examples.httpbin.urls import quote_location

router = APIRouter()

SLIDESHOW = {
    "slideshow": {
        "title": "Sample Slide Show",
        "date": "date of publication",
        "author": "Yours Truly",
        "slides": [
            {"type": "all", "title": "Wake up to WonderWidgets!"},
            {
                "type": "all",
                "title": "Overview",
                "items": ["Why <em>WonderWidgets</em> are great", "Who <em>buys</em> WonderWidgets"],
            },
        ],
    }
}

# What gunicorn keeps to itself, and Content-Length, of which an answer cannot have two.
NOT_FOR_THE_CLIENT = {
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "server",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
}


@router.api_route("/json", methods=READ)
async def show_json() -> Response:
    return SortedJSONResponse(SLIDESHOW)


@router.api_route("/gzip", methods=READ)
async def show_gzip(echo: RequestEcho) -> Response:
    described = await echo.describe("origin", "headers", "method") | {"gzipped": True}
    compressed = gzip.compress(dump_json(described), compresslevel=4)
    return Response(compressed, headers={"Content-Encoding": "gzip"}, media_type="application/json")


@router.api_route("/response-headers", methods=[*READ, "POST"])
async def answer_with_headers(echo: RequestEcho) -> Response:
    response = Response(_describe_headers(echo.args), media_type="application/json")
    for name, value in echo.args:
        if name.lower() not in NOT_FOR_THE_CLIENT:
            add_header(response, name, quote_location(value) if name.lower() == "location" else value)
    return response


def _describe_headers(added: Pairs) -> bytes:
    """The body that names all headers of the answer, its own length among them."""
    body, described = b"", None
    while described != body:
        body = described or b""
        own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        described = _dump_headers([*own, *added])
    return body


def _dump_headers(headers: Pairs) -> bytes:
    values = group_pairs((name.lower(), value) for name, value in headers)
    shown: dict[str, Any] = {}
    for name, _ in headers:
        of_any_case = values[name.lower()]
        shown[name] = of_any_case[0] if len(of_any_case) == 1 else of_any_case
    return dump_json(shown)
