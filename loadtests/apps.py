"""The apps that `overhead` serves: a hundred endpoints, in FastAPI and in Flask, whose work is close to nothing."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI
from flask import Flask
from pydantic import BaseModel

ROUTES = 100
PARAMETERS_EVERY = 3


class Item(BaseModel):
    collection: int
    id: int


def route_path(number: int) -> str:
    """Every third route has a path parameter, in FastAPI's notation; neither the first nor the last has."""
    return f"/collections/{number:02}" + ("/{item_id}" if number % PARAMETERS_EVERY == 1 else "")


def create_direct_app() -> FastAPI:
    """The routes are registered on the app."""
    app = FastAPI(openapi_url=None)
    for number in range(ROUTES):
        app.add_api_route(route_path(number), make_endpoint(number))
    return app


def create_included_app() -> FastAPI:
    """The routes come from routers, ten of each, as in an app of some size."""
    app = FastAPI(openapi_url=None)
    for start in range(0, ROUTES, 10):
        router = APIRouter()
        for number in range(start, start + 10):
            router.add_api_route(route_path(number), make_endpoint(number))
        app.include_router(router)
    return app


def create_legacy_app() -> Flask:
    app = Flask(__name__)

    for number in range(ROUTES):
        app.add_url_rule(
            route_path(number).replace("{item_id}", "<int:item_id>"), str(number), make_legacy_view(number)
        )
    return app


def make_endpoint(number: int) -> Callable[..., Awaitable[Item]]:
    async def show(item_id: int) -> Item:
        return Item(collection=number, id=item_id)

    async def show_first() -> Item:
        return Item(collection=number, id=0)

    return show if "{" in route_path(number) else show_first


def make_legacy_view(number: int) -> Callable[..., dict[str, int]]:
    def show(item_id: int = 0) -> dict[str, int]:
        return {"collection": number, "id": item_id}

    return show
