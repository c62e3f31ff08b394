"""Flask-Caching, in Redis and in the process."""

from itertools import count

from flask import Flask, request
from flask.typing import ResponseReturnValue
from flask_caching import Cache

TIMEOUT_S = 300
KEY_PREFIX = "pages:"


def create_app(config: dict[str, object]) -> Flask:
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_DEFAULT_TIMEOUT": TIMEOUT_S, "CACHE_KEY_PREFIX": KEY_PREFIX, **config})
    calls = count(1)

    @app.get("/page")
    @cache.cached(response_hit_indication=True)
    def page() -> ResponseReturnValue:
        return f"rendered {next(calls)} times", 200, {"X-Shelf": "é", "Content-Type": "text/x-page"}

    @app.get("/search")
    @cache.cached(query_string=True)
    def search() -> ResponseReturnValue:
        return f"{sorted(request.args.items())} in search {next(calls)}"

    @app.get("/unless")
    @cache.cached(unless=lambda: "fresh" in request.args)
    def unless() -> ResponseReturnValue:
        return f"rendered {next(calls)} times"

    @cache.memoize()
    def square(number: int) -> tuple[int, int]:
        return number * number, next(calls)

    @app.get("/square/<int:number>")
    def show_square(number: int) -> ResponseReturnValue:
        return list(square(number))

    @app.delete("/square/<int:number>")
    def forget_square(number: int) -> ResponseReturnValue:
        cache.delete_memoized(square, number)
        return "", 204

    @app.delete("/")
    def clear() -> ResponseReturnValue:
        cache.clear()
        return "", 204

    return app
