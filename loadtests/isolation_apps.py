"""The pair that `isolation` serves: a Flask app whose views take their time, and a FastAPI app that must not notice."""

import random
import threading
import time

from fastapi import FastAPI
from flask import Flask
from pydantic import BaseModel

# Of different lengths, lest all threads wake at once, which no service's do.
SHORTEST_NAP_S, LONGEST_NAP_S = 0.1, 0.4
# What hangs ends by itself, lest a load test that was killed leave threads behind.
LONGEST_HANG_S = 120.0

_released = threading.Event()


class Item(BaseModel):
    id: int
    title: str


def create_legacy_app() -> Flask:
    app = Flask(__name__)

    @app.get("/legacy/hang")
    def hang() -> dict[str, bool]:
        """Until the other app releases it."""
        return {"released": _released.wait(LONGEST_HANG_S)}

    @app.get("/legacy/nap")
    def nap() -> dict[str, float]:
        seconds = random.uniform(SHORTEST_NAP_S, LONGEST_NAP_S)
        time.sleep(seconds)
        return {"slept_s": seconds}

    return app


def create_target_app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/async/item")
    async def item() -> Item:
        return Item(id=17, title="A small answer")

    @app.put("/async/released/{value}")
    async def release(value: bool) -> bool:
        """Let the hanging views go on, or have the next ones hang."""
        if value:
            _released.set()
        else:
            _released.clear()
        return value

    return app
