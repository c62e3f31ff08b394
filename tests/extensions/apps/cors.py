"""Flask-CORS."""

from flask import Flask, abort
from flask.typing import ResponseReturnValue
from flask_cors import CORS, cross_origin

app = Flask(__name__)
CORS(
    app,
    resources={
        r"/api/*": {
            "origins": ["https://front.test", r"https://.*\.preview\.test"],
            "supports_credentials": True,
            "expose_headers": ["X-Total"],
            "allow_headers": ["Content-Type", "X-Token"],
            "max_age": 600,
        }
    },
)


@app.route("/api/items", methods=["GET", "POST", "PUT"])
def items() -> ResponseReturnValue:
    return {"items": []}, 200, {"X-Total": "0", "Vary": "Cookie"}


@app.get("/api/broken")
def broken() -> ResponseReturnValue:
    raise RuntimeError


@app.get("/api/forbidden")
def forbidden() -> ResponseReturnValue:
    abort(403)


@app.get("/open")
@cross_origin()
def anyone() -> ResponseReturnValue:
    return "open to all"


@app.get("/closed")
def closed() -> ResponseReturnValue:
    return "same origin only"
