"""Flask-Compress."""

from collections.abc import Iterator

from flask import Flask, make_response
from flask.typing import ResponseReturnValue
from flask_compress import Compress

app = Flask(__name__)
app.config.update(COMPRESS_ALGORITHM=["br", "gzip"], COMPRESS_ALGORITHM_STREAMING=["br", "gzip"])
Compress(app)

TEXT = "".join(f"line {number} of a long page\n" for number in range(500))


@app.get("/page")
def page() -> ResponseReturnValue:
    response = make_response(TEXT)
    response.add_etag()
    return response


@app.get("/small")
def small() -> ResponseReturnValue:
    return "too small"


@app.get("/picture")
def picture() -> ResponseReturnValue:
    return TEXT.encode(), {"Content-Type": "image/png"}


@app.get("/stream")
def stream() -> ResponseReturnValue:
    def lines() -> Iterator[str]:
        yield from TEXT.splitlines(keepends=True)

    return lines(), {"Content-Type": "text/plain"}


@app.get("/missing")
def missing() -> ResponseReturnValue:
    return TEXT, 404
