"""What Flask itself answers with: files, errors, redirects, streams."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    send_from_directory,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, NotFound

FILE_BYTES = 700_000
MODIFIED = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


class SoldOut(Exception):
    """Answered with 409."""


def create_app(directory: Path) -> Flask:
    app = Flask(__name__)
    file = directory / "numbers.bin"
    file.write_bytes(bytes(range(256)) * (FILE_BYTES // 256))

    @app.get("/")
    def index() -> ResponseReturnValue:
        return "the front page"

    @app.get("/file")
    def whole_file() -> ResponseReturnValue:
        return send_file(file, etag="numbers", last_modified=MODIFIED, max_age=60)

    @app.get("/file/download")
    def download() -> ResponseReturnValue:
        return send_file(
            file, as_attachment=True, download_name="zählen.bin", conditional=False, last_modified=MODIFIED, etag=False
        )

    @app.get("/file/memory")
    def memory() -> ResponseReturnValue:
        return send_file(BytesIO(b"in memory"), mimetype="text/plain", etag=False)

    @app.get("/files/<path:name>")
    def directory_file(name: str) -> ResponseReturnValue:
        return send_from_directory(directory, name, etag="numbers", last_modified=MODIFIED)

    @app.get("/conditional")
    def conditional() -> ResponseReturnValue:
        response = make_response("the same as ever")
        response.set_etag("ever")
        response.last_modified = MODIFIED
        return response.make_conditional(request)

    @app.get("/cookies")
    def cookies() -> ResponseReturnValue:
        response = jsonify(request.cookies)
        response.set_cookie("plain", "1")
        response.set_cookie(
            "strict", "é; x", max_age=60, path="/cookies", httponly=True, samesite="Strict", secure=True
        )
        response.delete_cookie("old")
        response.headers.add("Link", "</a>; rel=preload")
        response.headers.add("Link", "</b>; rel=preload")
        return response

    @app.get("/abort/<int:status>")
    def aborted(status: int) -> ResponseReturnValue:
        abort(status, "because") if status != 499 else abort(Response("own", 499, {"X-Own": "yes"}))

    @app.get("/sold-out")
    def sold_out() -> ResponseReturnValue:
        raise SoldOut("tickets")

    @app.get("/broken")
    def broken() -> ResponseReturnValue:
        raise RuntimeError("a secret of the app")

    @app.errorhandler(SoldOut)
    def handle_sold_out(error: SoldOut) -> ResponseReturnValue:
        return {"sold out": str(error)}, 409

    @app.errorhandler(404)
    def handle_not_found(error: NotFound) -> ResponseReturnValue:
        return f"nothing at {request.path}", 404

    @app.errorhandler(HTTPException)
    def handle_others(error: HTTPException) -> ResponseReturnValue:
        return {"status": error.code, "name": error.name, "description": error.description}, error.code or 500

    @app.get("/urls/<path:name>")
    def urls(name: str) -> ResponseReturnValue:
        return {
            "external": url_for("urls", name=name, _external=True, q="a b", _anchor="ü"),
            "https": url_for("urls", name=name, _external=True, _scheme="https"),
            "relative": url_for("urls", name=name),
            "url": request.url,
            "base": request.base_url,
            "path": request.full_path,
        }

    @app.get("/slash/")
    def slash() -> ResponseReturnValue:
        return "with a slash"

    @app.get("/away")
    def away() -> ResponseReturnValue:
        return redirect("https://elsewhere.test/über?q=é", 307)

    @app.get("/stream")
    def stream() -> ResponseReturnValue:
        @stream_with_context
        def lines() -> Iterator[str]:
            for number in range(1000):
                yield f"{number} {request.args['name']}\n"

        return lines(), {"Content-Type": "text/plain; charset=utf-8", "X-Accel-Buffering": "no"}

    @app.get("/events")
    def events() -> ResponseReturnValue:
        return Response((f"data: {number}\n\n" for number in range(3)), mimetype="text/event-stream")

    @app.get("/nothing")
    def nothing() -> ResponseReturnValue:
        return "", 204

    return app
