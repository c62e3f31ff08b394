"""Endpoints whose answer is made up on the spot."""

import asyncio
import base64
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response, StreamingResponse

from examples.httpbin.endpoints import ANY, READ
from examples.httpbin.query import find_option
from examples.httpbin.request import RequestEcho
from examples.httpbin.responses import SortedJSONResponse

router = APIRouter()

MAX_DELAY_S = 10
MAX_LINES = 100
MAX_BYTES = 100 * 1024
BASE64_HINT = "Incorrect Base64 data try: SFRUUEJJTiBpcyBhd2Vzb21l"


@router.api_route("/uuid", methods=READ)
async def make_uuid() -> Response:
    return SortedJSONResponse({"uuid": str(uuid.uuid4())})


@router.api_route("/delay/{delay}", methods=ANY)
async def answer_late(delay: str, echo: RequestEcho) -> Response:
    delay_s = min(float(delay), MAX_DELAY_S)
    if not delay_s >= 0:  # NaN as well: time.sleep raises for both, asyncio.sleep for one
        raise ValueError("sleep length must be non-negative")
    await asyncio.sleep(delay_s)
    return SortedJSONResponse(await echo.describe("url", "args", "form", "data", "origin", "headers", "files"))


@router.api_route("/stream/{n:int}", methods=READ)
async def stream_lines(n: int, echo: RequestEcho) -> Response:
    described = await echo.describe("url", "args", "headers", "origin")
    return StreamingResponse(_iterate_lines(described, min(n, MAX_LINES)), media_type="application/json")


async def _iterate_lines(described: dict[str, Any], count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield json.dumps(described | {"id": number}) + "\n"


@router.api_route("/bytes/{n:int}", methods=READ)
async def make_bytes(n: int, echo: RequestEcho) -> Response:
    seed = find_option(echo.args, "seed")
    generator = random.Random(None if seed is None else int(seed))
    content = bytes(generator.randint(0, 255) for _ in range(min(n, MAX_BYTES)))
    return Response(content, media_type="application/octet-stream")


@router.api_route("/base64/{value}", methods=READ)
async def decode_base64(value: str) -> Response:
    try:
        return HTMLResponse(base64.urlsafe_b64decode(value.encode()).decode())
    except ValueError:
        return HTMLResponse(BASE64_HINT)
