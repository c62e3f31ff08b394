"""What a Flask app reads from its clients, and its limits."""

from hashlib import sha256
from queue import SimpleQueue
from typing import Any

from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

MAX_CONTENT_BYTES = 2_000_000
MAX_FORM_MEMORY_BYTES = 100_000
MAX_FORM_PARTS = 20
WAIT_S = 10.0

app = Flask(__name__)
app.config.update(
    MAX_CONTENT_LENGTH=MAX_CONTENT_BYTES,
    MAX_FORM_MEMORY_SIZE=MAX_FORM_MEMORY_BYTES,
    MAX_FORM_PARTS=MAX_FORM_PARTS,
)

outcomes: SimpleQueue[str] = SimpleQueue()
"""Of `/watched`, whose clients do not stay for the answer."""


def describe(file: FileStorage) -> dict[str, Any]:
    content = file.read()
    return {
        "name": file.filename,
        "type": file.content_type,
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "kept in": type(getattr(file.stream, "_file", file.stream)).__name__,
    }


@app.post("/files")
def files() -> ResponseReturnValue:
    return {"fields": request.form, "files": {name: describe(file) for name, file in request.files.items()}}


@app.post("/form")
def form() -> ResponseReturnValue:
    return {"fields": len(request.form), "first": next(iter(request.form.items()), None)}


@app.post("/stream")
def stream() -> ResponseReturnValue:
    digest, sizes = sha256(), 0
    while piece := request.stream.read(10_000):
        digest.update(piece)
        sizes += len(piece)
    return {"bytes": sizes, "sha256": digest.hexdigest(), "length": request.content_length}


@app.post("/lines")
def lines() -> ResponseReturnValue:
    return [line.decode() for line in request.stream]


@app.post("/json")
def json() -> ResponseReturnValue:
    return {"json": request.get_json(), "again": request.get_data(as_text=True)}


@app.post("/limited")
def limited() -> ResponseReturnValue:
    request.max_content_length = 10
    return {"bytes": len(request.get_data())}


@app.post("/watched")
def watched() -> ResponseReturnValue:
    try:
        outcomes.put(f"read {len(request.stream.read())} bytes")
    except BaseException:
        outcomes.put("did not read the body")
        raise
    return ""


@app.get("/outcome")
def outcome() -> ResponseReturnValue:
    return outcomes.get(timeout=WAIT_S)


@app.post("/unread")
def unread() -> ResponseReturnValue:
    return "not interested", 401
