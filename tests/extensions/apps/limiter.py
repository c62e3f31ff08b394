"""Flask-Limiter, which counts in Redis."""

from flask import Flask, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter


def caller() -> str:
    return request.headers.get("X-Caller", request.remote_addr or "")


def create_app(redis_url: str) -> Flask:
    app = Flask(__name__)
    limiter = Limiter(caller, app=app, storage_uri=redis_url, default_limits=["100 per day"], headers_enabled=True)

    @app.get("/search")
    @limiter.limit("3 per hour")
    def search() -> ResponseReturnValue:
        return "found"

    @app.get("/report")
    @limiter.limit("2 per hour", error_message="two reports an hour are enough")
    def report() -> ResponseReturnValue:
        return "reported"

    @app.get("/health")
    @limiter.exempt
    def health() -> ResponseReturnValue:
        return "well"

    @app.get("/other")
    def other() -> ResponseReturnValue:
        return "other"

    return app
