"""Flask-JWT-Extended: in headers, and in cookies with protection against forgery."""

from datetime import timedelta

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
    unset_jwt_cookies,
)

app = Flask(__name__)
app.config.update(
    JWT_SECRET_KEY="a secret of the tests, and long enough",
    JWT_TOKEN_LOCATION=["headers", "cookies"],
    JWT_COOKIE_SECURE=False,
    JWT_SESSION_COOKIE=False,
)
manager = JWTManager(app)
revoked: set[str] = set()


@manager.token_in_blocklist_loader
def is_revoked(header: dict[str, str], payload: dict[str, str]) -> bool:
    return payload["jti"] in revoked


@app.post("/log-in")
def log_in() -> ResponseReturnValue:
    user = request.get_json()["user"]
    return {
        "access": create_access_token(user, fresh=True, additional_claims={"role": "editor"}),
        "refresh": create_refresh_token(user),
        "expired": create_access_token(user, expires_delta=timedelta(seconds=-1)),
    }


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> ResponseReturnValue:
    return {"access": create_access_token(get_jwt_identity(), fresh=False)}


@app.route("/me", methods=["GET", "POST"])
@jwt_required()
def me() -> ResponseReturnValue:
    return {"user": get_jwt_identity(), "role": get_jwt().get("role"), "fresh": get_jwt()["fresh"]}


@app.get("/fresh")
@jwt_required(fresh=True)
def fresh() -> ResponseReturnValue:
    return "fresh"


@app.get("/optional")
@jwt_required(optional=True)
def optional() -> ResponseReturnValue:
    return {"user": get_jwt_identity()}


@app.delete("/token")
@jwt_required()
def revoke() -> ResponseReturnValue:
    revoked.add(get_jwt()["jti"])
    return "", 204


@app.post("/cookies")
def give_cookies() -> ResponseReturnValue:
    response = jsonify(given=True)
    set_access_cookies(response, create_access_token("ada"))
    return response


@app.delete("/cookies")
def take_cookies() -> ResponseReturnValue:
    response = jsonify(given=False)
    unset_jwt_cookies(response)
    return response
