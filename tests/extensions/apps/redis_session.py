"""Flask-Session, kept in Redis."""

from datetime import timedelta

from flask import Flask, request, session
from flask.typing import ResponseReturnValue
from flask_session import Session
from redis import Redis

KEY_PREFIX = "visit:"
LIFETIME = timedelta(minutes=10)


def create_app(redis_url: str) -> Flask:
    app = Flask(__name__)
    app.config.update(
        SESSION_TYPE="redis",
        SESSION_REDIS=Redis.from_url(redis_url),
        SESSION_KEY_PREFIX=KEY_PREFIX,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=LIFETIME,
    )
    Session(app)

    @app.get("/")
    def show() -> ResponseReturnValue:
        return {"user": session.get("user"), "visits": session.get("visits", 0)}

    @app.post("/visit")
    def visit() -> ResponseReturnValue:
        session["visits"] = session.get("visits", 0) + 1
        return show()

    @app.post("/log-in")
    def log_in() -> ResponseReturnValue:
        session["user"] = request.form["user"]
        app.session_interface.regenerate(session)  # type: ignore[attr-defined]
        return show()

    @app.post("/log-out")
    def log_out() -> ResponseReturnValue:
        session.clear()
        return "", 204

    return app
