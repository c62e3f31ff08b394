"""Answers with any status code."""

import json
import random
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from examples.httpbin.endpoints import ANY

router = APIRouter()

TEAPOT = r'''
    -=[ teapot ]=-

       _...._
     .'  _ _ `.
    | ."` ^ `". _,
    \_;`"---"`|//
      |       ;/
      \_     _/
        `"""`
'''

NOT_ACCEPTABLE = {
    "message": "Client did not request a supported media type.",
    "accept": ["image/webp", "image/svg+xml", "image/jpeg", "image/png", "image/*"],
}


@dataclass(frozen=True)
class SpecialAnswer:
    """What httpbin adds to a status. These answers have no content type unless one is among the headers."""

    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


REDIRECT = SpecialAnswer({"Location": "/redirect/1"})
SPECIAL_ANSWERS = {
    301: REDIRECT,
    302: REDIRECT,
    303: REDIRECT,
    304: SpecialAnswer(),
    305: REDIRECT,
    307: REDIRECT,
    401: SpecialAnswer({"WWW-Authenticate": 'Basic realm="Fake Realm"'}),
    402: SpecialAnswer({"x-more-info": "http://vimeo.com/22053820"}, "Fuck you, pay me!"),
    406: SpecialAnswer({"Content-Type": "application/json"}, json.dumps(NOT_ACCEPTABLE)),
    407: SpecialAnswer(),  # gunicorn takes httpbin's Proxy-Authenticate for hop-by-hop and drops it
    418: SpecialAnswer({"x-more-info": "http://tools.ietf.org/html/rfc2324"}, TEAPOT),
}


@router.api_route("/status/{codes}", methods=ANY)
async def answer_with_status(codes: str) -> Response:
    """One code, or several of which one is drawn: `200:3,500:1` is three times in four a 200."""
    # A lone code has no weight: "200:3" is invalid.
    choices = [_split_weight(choice) for choice in codes.split(",")] if "," in codes else [(codes, "1")]
    try:
        status_codes = [int(code) for code, _ in choices]
        weights = [float(weight) for _, weight in choices]
    except ValueError:
        return PlainTextResponse("Invalid status code", 400)
    return status_answer(random.choices(status_codes, weights)[0])


def _split_weight(choice: str) -> tuple[str, str]:
    if ":" not in choice:
        return choice, "1"
    code, weight = choice.split(":")  # httpbin does not foresee a second colon either: 500
    return code, weight


def status_answer(status_code: int) -> Response:
    """Raises `ValueError` for a status that no ASGI server can answer with: an informational one, or beyond 599."""
    if not 200 <= status_code <= 599:
        raise ValueError(f"cannot answer with status {status_code}")
    special = SPECIAL_ANSWERS.get(status_code)
    if special is None:
        return HTMLResponse(status_code=status_code)
    return Response(special.body, status_code, special.headers)
