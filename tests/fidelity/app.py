"""A Flask app that does what servers get wrong, and remembers what became of each request by its `?id=`."""

import contextvars
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, request, send_file, stream_with_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.fidelity.raw_apps import EVENTS, echo, read_input, run_program

app = Flask(__name__)
# A common cure for "working outside of application context". Where it ends up depends on the server.
app.app_context().push()

BARRIER_TIMEOUT_S = 5.0
BARRIERS: dict[int, threading.Barrier] = {}
MADE: Counter[str] = Counter()
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class ActiveRequests:
    """Counts requests from their call to their close."""

    def __init__(self, wsgi_app: Callable[..., Iterable[bytes]]) -> None:
        self.wsgi_app = wsgi_app
        self.number = 0
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self._add(1)
        try:
            response = self.wsgi_app(environ, start_response)
        except BaseException:
            self._add(-1)
            raise
        if isinstance(response, environ.get("wsgi.file_wrapper", ())):
            self._add(-1)  # the server must recognise it, so it stays as it is
            return response
        return Active(response, lambda: self._add(-1))

    def _add(self, difference: int) -> None:
        with self._lock:
            self.number += difference


class Active:
    """A response that says when it is closed. (Werkzeug's `ClosingIterator` does not if the app's `close` raises.)"""

    def __init__(self, response: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._response = response
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        try:
            if hasattr(self._response, "close"):
                self._response.close()
        finally:
            self._on_close()


raw_apps = {"/raw/echo": echo, "/raw/read": read_input, "/raw/run": run_program}
active = ActiveRequests(DispatcherMiddleware(app.wsgi_app, raw_apps))
app.wsgi_app = active  # type: ignore[method-assign]


def own_events() -> list[str]:
    return EVENTS[request.args.get("id", "")]


@app.teardown_request
def note_teardown(error: BaseException | None) -> None:
    if "id" in request.args:
        own_events().append("teardown")


# --- what the tests ask ----------------------------------------------------------------------------------------------


@app.get("/")
def index() -> str:
    return "ok"


@app.get("/events/<key>")
def list_events(key: str) -> Response:
    return jsonify(EVENTS[key])


@app.get("/made/<key>")
def count_made(key: str) -> Response:
    return jsonify(MADE[key])


@app.get("/process")
def show_process() -> Response:
    return jsonify(pid=os.getpid(), active=active.number - 1)


@app.get("/barrier/<int:parties>")
def meet(parties: int) -> tuple[str, int]:
    """200 if so many requests are here at the same time."""
    barrier = BARRIERS.setdefault(parties, threading.Barrier(parties))
    try:
        barrier.wait(BARRIER_TIMEOUT_S)
    except threading.BrokenBarrierError:
        BARRIERS.pop(parties, None)
        return "too few", 503
    return "all here", 200


# --- responses, and how they end -------------------------------------------------------------------------------------


@app.route("/stream", methods=["GET", "POST"])
def stream() -> Response:
    """`chunks` (or no end) of `size` bytes, `pause_ms` between them, and an exception in place of number `fail_at`."""
    key, events = request.args.get("id", ""), own_events()
    chunks, size = request.args.get("chunks", type=int), request.args.get("size", 10, int)
    pause_s, fail_at = request.args.get("pause_ms", 0, int) / 1000, request.args.get("fail_at", type=int)

    def generate() -> Iterator[bytes]:
        events.append("start")
        try:
            for number in count() if chunks is None else range(chunks):
                if number == fail_at:
                    raise ValueError("as asked")
                MADE[key] += 1
                yield b"%c" % (ord("a") + number % 26) * size
                time.sleep(pause_s)
            events.append("exhausted")
        except GeneratorExit:
            events.append("GeneratorExit")
            raise
        finally:
            events.append("finally")

    response = Response(stream_with_context(generate()), mimetype="text/event-stream")
    response.call_on_close(lambda: events.append("closed"))
    return response


@app.get("/slow-close")
def close_slowly() -> Response:
    events, pause_s = own_events(), request.args.get("ms", 0, int) / 1000

    def close() -> None:
        time.sleep(pause_s)
        events.append("closed")

    response = Response(iter(["bo", "dy"]) if "streamed" in request.args else "body")
    response.call_on_close(close)
    return response


@app.route("/compute", methods=["GET", "POST"])
def compute() -> str:
    own_events().append("began")
    time.sleep(request.args.get("ms", 0, int) / 1000)
    own_events().append("done")
    if "touch" in request.args:
        Path(request.args["touch"]).touch()
    return "computed"


@app.get("/file")
def get_file() -> Response:
    return send_file(__file__, mimetype="text/plain")


@app.get("/exit")
def leave() -> str:
    sys.exit(3)


# --- request bodies --------------------------------------------------------------------------------------------------


@app.post("/parse")
def parse() -> Response:
    files = {name: [file.filename, file.read().decode("latin-1")] for name, file in request.files.items()}
    parsed = request.form.to_dict(flat=False), files, request.get_json(silent=True)
    return jsonify(*parsed, request.get_data(as_text=True))


@app.post("/digest")
def digest() -> Response:
    """Reads in blocks; notes whether the body came to its end."""
    events, total, sha = own_events(), 0, hashlib.sha256()
    events.append("began")
    try:
        while block := request.stream.read(64 * 1024):
            sha.update(block)
            total += len(block)
    except Exception:
        events.append("aborted")
        raise
    events.append(f"done {total}")
    return jsonify(sha.hexdigest(), total)


@app.post("/count")
def count_bytes() -> Response:
    """As `digest`, but as fast as can be."""
    total = 0
    while block := request.stream.read(1024 * 1024):
        total += len(block)
    return jsonify(total)


@app.post("/limited")
def read_limited() -> Response:
    request.max_content_length = 1000
    return jsonify(len(request.get_data()))


@app.post("/unread")
def ignore_body() -> tuple[str, int]:
    return "not interested", 413


# --- environ and context ---------------------------------------------------------------------------------------------


@app.route("/echo", methods=["GET", "POST"])
@app.route("/echo/<path:rest>", methods=["GET", "POST"])
def echo_from_flask(rest: str = "") -> Any:
    return app.make_response((b"".join(echo(request.environ, lambda *args: None)), {"Content-Type": "text/json"}))


@app.get("/errors")
def write_errors() -> Response:
    """Where `wsgi.errors` ends up: what arrives at the file descriptors of stdout and stderr meanwhile."""
    with capture(1) as stdout, capture(2) as stderr:
        request.environ["wsgi.errors"].write("written to wsgi.errors\n")
        request.environ["wsgi.errors"].flush()
        sys.stdout.flush()
    return jsonify(stdout=stdout, stderr=stderr)


@contextmanager
def capture(descriptor: int) -> Iterator[list[str]]:
    """At the end of the block the list has what was written to the descriptor."""
    written: list[str] = []
    saved = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield written
        finally:
            os.dup2(saved, descriptor)
            os.close(saved)
            file.seek(0)
            written.append(file.read().decode())


@app.get("/hints")
def give_hints() -> str:
    request.environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return "hinted"


@app.get("/user/<name>")
def log_in(name: str) -> Response:
    """Who was logged in before, as far as `g` tells; it should have forgotten."""
    before = g.get("user")
    g.user = name
    return jsonify(before)


@app.get("/variable/<value>")
def set_variable(value: str) -> Response:
    before = VARIABLE.get()
    VARIABLE.set(value)
    return jsonify(before)
