"""Flask-SQLAlchemy on a SQLite file, with so small a pool that one connection that is not given back is missed."""

import threading
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, g, request, stream_with_context
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

POOL_SIZE = 2
POOL_TIMEOUT_S = 10
ROWS = 50
ROW_BYTES = 64 * 1024
WAIT_S = 10.0


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Note(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(40), unique=True)


def create_app(directory: Path) -> Flask:
    app = Flask(__name__)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{directory}/notes.db",
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S},
    )
    teardowns = Counter()

    @app.before_request
    def note_client() -> None:
        g.client = request.args.get("client")

    @app.teardown_appcontext  # before the extension's, so that it runs after it: the last comes first
    def note_teardown(error: BaseException | None) -> None:
        teardowns.add(g.get("client"))

    db.init_app(app)
    with app.app_context():
        db.create_all()

    @app.get("/")
    def list_notes() -> ResponseReturnValue:
        return [note.text for note in db.session.scalars(select(Note).order_by(Note.id))]

    @app.post("/")
    def add() -> ResponseReturnValue:
        note = Note(text=request.form["text"])
        db.session.add(note)
        db.session.commit()
        return {"id": note.id}, 201

    @app.post("/forgotten")
    def add_and_forget() -> ResponseReturnValue:
        db.session.add(Note(text=request.form["text"]))
        db.session.flush()
        return "", 202

    @app.get("/<int:note_id>")
    def show(note_id: int) -> ResponseReturnValue:
        return {"text": db.get_or_404(Note, note_id).text}

    @app.get("/pages")
    def pages() -> ResponseReturnValue:
        page = db.paginate(select(Note).order_by(Note.id), per_page=2)
        return {"texts": [note.text for note in page], "pages": page.pages, "total": page.total}

    @app.get("/export")
    def export() -> ResponseReturnValue:
        @stream_with_context
        def rows() -> Iterator[str]:
            for note in db.session.scalars(select(Note).order_by(Note.id).execution_options(yield_per=1)):
                yield f"{note.text} {request.args['client']}\n"

        return rows(), {"Content-Type": "text/csv"}

    @app.get("/endless")
    def endless() -> ResponseReturnValue:
        @stream_with_context
        def rows() -> Iterator[bytes]:
            while True:
                assert db.session.scalar(select(Note.id).limit(1)) is not None
                yield b"x" * ROW_BYTES

        return rows()

    @app.get("/torn-down/<client>")
    def torn_down(client: str) -> ResponseReturnValue:
        """Waits until the contexts of that client's requests have ended."""
        ended = teardowns.wait(client, int(request.args["times"]))
        return {"torn down": ended, "connections in use": db.engine.pool.checkedout()}

    return app


class Counter:
    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {}
        self._changed = threading.Condition()

    def add(self, name: str | None) -> None:
        with self._changed:
            self._numbers[name] = self._numbers.get(name, 0) + 1
            self._changed.notify_all()

    def wait(self, name: str, number: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._numbers.get(name, 0) >= number, WAIT_S)
            return self._numbers.get(name, 0)
