"""The Flask app that `bridge` serves in three ways, and one of these: stock a2wsgi, mounted as every tutorial shows."""

import os
from collections.abc import Iterator

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from flask import Flask, Response, request, send_file

BODY = b"0123456789" * 10_000
CHUNK = b"c" * 63 + b"\n"
CHUNKS = 20_000
FILE_VARIABLE = "LOADTESTS_FILE"
"""Names the file that `/file` sends."""

app = Flask(__name__)


@app.get("/json")
def show_item() -> dict[str, object]:
    return {"id": 17, "title": "A small answer", "tags": ["a", "b"], "published": True}


@app.get("/body")
def show_body() -> Response:
    return Response(BODY, mimetype="application/octet-stream")


@app.get("/chunks")
def stream_chunks() -> Response:
    def chunks() -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    return Response(chunks(), mimetype="text/plain")


@app.get("/file")
def show_file() -> Response:
    return send_file(os.environ[FILE_VARIABLE], mimetype="application/octet-stream")


@app.post("/upload")
def take_upload() -> dict[str, int]:
    return {"bytes": len(request.get_data(cache=False))}


def create_stock_app() -> FastAPI:
    stock = FastAPI(openapi_url=None)
    stock.mount("/", WSGIMiddleware(app))  # type: ignore[arg-type]
    return stock
