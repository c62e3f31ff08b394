"""`async def` views, hooks and error handlers, each run by Flask in an event loop of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from flask import Flask, Response, after_this_request, g, request, session
from flask.typing import ResponseReturnValue
from flask.views import MethodView

app = Flask(__name__)
app.secret_key = "async"
language: ContextVar[str] = ContextVar("language", default="unset")


class Conflict(Exception):
    """Answered with 409."""


@app.before_request
async def before() -> None:
    await asyncio.sleep(0)
    g.user = request.headers.get("X-User", "nobody")


@app.after_request
async def after(response: Response) -> Response:
    await asyncio.sleep(0)
    response.headers["X-User"] = g.user
    return response


@app.errorhandler(Conflict)
async def conflict(error: Conflict) -> ResponseReturnValue:
    await asyncio.sleep(0)
    return str(error), 409


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield f"opened {name}"


@app.get("/gather")
async def gather() -> ResponseReturnValue:
    async def ask(number: int) -> str:
        async with opened(f"{number} for {g.user}") as answer:
            return f"{answer} at {request.path}"

    return list(await asyncio.gather(*map(ask, range(3))))


@app.post("/body")
async def body() -> ResponseReturnValue:
    session["last"] = request.form["a"]
    return {"form": request.form, "files": {name: len(file.read()) for name, file in request.files.items()}}


@app.get("/conflict")
async def raise_conflict() -> ResponseReturnValue:
    raise Conflict("async conflict")


@app.get("/broken")
async def broken() -> ResponseReturnValue:
    raise RuntimeError


@app.get("/variable")
async def variable() -> ResponseReturnValue:
    @after_this_request
    def tell(response: Response) -> Response:
        response.headers["Content-Language"] = language.get()
        return response

    before = language.get()
    language.set(request.args["language"])
    await asyncio.sleep(0)
    return before


@app.get("/own-loop")
def own_loop() -> ResponseReturnValue:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "from asyncio.run in a sync view"

    return asyncio.run(answer())


class Thing(MethodView):
    async def get(self, number: int) -> ResponseReturnValue:
        await asyncio.sleep(0)
        return {"number": number}


app.add_url_rule("/things/<int:number>", view_func=Thing.as_view("thing"))
