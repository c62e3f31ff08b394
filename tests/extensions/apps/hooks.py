"""The order of hooks and signals around a request, written into a journal."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
from flask import Blueprint, Flask, after_this_request, flash, g, render_template_string, request, stream_with_context
from flask.typing import ResponseReturnValue
from werkzeug.wsgi import ClosingIterator

WAIT_S = 10.0
SIGNALS = (
    "appcontext_pushed",
    "request_started",
    "before_render_template",
    "template_rendered",
    "message_flashed",
    "got_request_exception",
    "request_finished",
    "request_tearing_down",
    "appcontext_tearing_down",
    "appcontext_popped",
)
CLOSED = "closed"


class Journal:
    """WSGI middleware. What happens in requests to `/watched`, from the call of the app to the close of its answer."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._watching = threading.local()
        self._lines: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._watching.now = environ["PATH_INFO"].startswith("/watched")
        self.write("called")
        return ClosingIterator(self._app(environ, start_response), lambda: self.write(CLOSED))

    def write(self, line: str) -> None:
        with self._changed:
            if self._watching.now:
                self._lines.append(line)
            self._changed.notify_all()

    def take(self) -> list[str]:
        """The lines of one request, when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: CLOSED in self._lines, WAIT_S)
            lines, self._lines = self._lines, []
            return lines


app = Flask(__name__)
app.secret_key = "hooks"
journal = Journal(app.wsgi_app)
app.wsgi_app = journal  # type: ignore[method-assign]
part = Blueprint("part", __name__)


def subscribe(name: str) -> None:
    def note(sender: Any, **values: Any) -> None:
        journal.write(f"signal {name}")

    # Signals keep their receivers by weak reference.
    getattr(flask, name).connect(note, app, weak=False)


for signal in SIGNALS:
    subscribe(signal)


@app.url_value_preprocessor
def preprocess(endpoint: str | None, values: dict[str, Any] | None) -> None:
    journal.write(f"preprocess {endpoint} {values}")


@app.before_request
def before() -> ResponseReturnValue | None:
    journal.write("before")
    g.user = request.args.get("user", "nobody")
    return ("stopped early", 403) if "stop" in request.args else None


@part.before_request
def before_part() -> None:
    journal.write("before part")


@app.after_request
def after(response: flask.Response) -> flask.Response:
    journal.write(f"after {response.status_code}")
    response.headers["X-User"] = g.user
    return response


@part.after_request
def after_part(response: flask.Response) -> flask.Response:
    journal.write("after part")
    return response


@app.teardown_request
def teardown(error: BaseException | None) -> None:
    journal.write(f"teardown request {error!r} {g.user}")


@part.teardown_request
def teardown_part(error: BaseException | None) -> None:
    journal.write("teardown part")


@app.teardown_appcontext
def teardown_context(error: BaseException | None) -> None:
    journal.write(f"teardown context {error!r}")


@app.errorhandler(LookupError)
def handle(error: LookupError) -> ResponseReturnValue:
    journal.write(f"handler {error!r}")
    return "not in here", 410


@app.get("/watched/page")
def page() -> ResponseReturnValue:
    @after_this_request
    def after_this(response: flask.Response) -> flask.Response:
        journal.write("after this request")
        response.call_on_close(lambda: journal.write("call on close"))
        return response

    flash("seen")
    return render_template_string("{{ g.user }}")


@part.get("/watched/part/<int:number>")
def part_page(number: int) -> ResponseReturnValue:
    journal.write("view")
    return str(number)


@app.get("/watched/broken")
def broken() -> ResponseReturnValue:
    raise RuntimeError("broken")


@app.get("/watched/handled")
def handled() -> ResponseReturnValue:
    raise KeyError("handled")


def count_to_three() -> Iterator[str]:
    try:
        for number in range(3):
            journal.write(f"piece {number} {flask.has_request_context()}")
            yield f"{number}\n"
    finally:
        journal.write("generator closed")


@app.get("/watched/stream")
def stream() -> ResponseReturnValue:
    return stream_with_context(count_to_three())


@app.get("/watched/stream-without-context")
def stream_without_context() -> ResponseReturnValue:
    return count_to_three()


@app.get("/watched/endless")
def endless() -> ResponseReturnValue:
    @stream_with_context
    def forever() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
        finally:
            journal.write(f"generator closed for {g.user}")

    return forever()


@app.get("/watched/breaks-off")
def breaks_off() -> ResponseReturnValue:
    @stream_with_context
    def pieces() -> Iterator[bytes]:
        yield b"a piece"
        raise RuntimeError("no more pieces")

    return pieces()


@app.get("/journal")
def show() -> ResponseReturnValue:
    return journal.take()


app.register_blueprint(part)
