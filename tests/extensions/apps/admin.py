"""Flask-Admin over Flask-SQLAlchemy models, behind a login page of its own."""

from pathlib import Path
from typing import Any

from flask import Flask, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_admin import Admin, AdminIndexView, expose
from flask_admin.contrib.sqla import ModelView
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Author(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))

    def __str__(self) -> str:
        return self.name


class Index(AdminIndexView):
    @expose("/")
    def index(self) -> ResponseReturnValue:
        if "admin" not in session:
            return redirect(url_for(".log_in"))
        return super().index()

    @expose("/log-in", methods=["GET", "POST"])
    def log_in(self) -> ResponseReturnValue:
        if request.method == "POST" and request.form["password"] == "open sesame":
            session["admin"] = True
            return redirect(url_for(".index"))
        return self.render("admin/master.html"), 401 if request.method == "POST" else 200


class AuthorView(ModelView):
    can_export = True
    page_size = 2
    column_searchable_list = ("name",)
    column_filters = ("name",)
    column_editable_list = ("name",)

    def is_accessible(self) -> bool:
        return "admin" in session

    def inaccessible_callback(self, name: str, **kwargs: Any) -> ResponseReturnValue:
        return redirect(url_for("admin.log_in", next=request.url))


def create_app(directory: Path) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="admin", SQLALCHEMY_DATABASE_URI=f"sqlite:///{directory}/authors.db")
    db.init_app(app)
    admin = Admin(app, name="Back office", index_view=Index())
    admin.add_view(AuthorView(Author, db))
    with app.app_context():
        db.create_all()
        db.session.add_all(Author(name=name) for name in ("Ada", "Grace", "Édith"))
        db.session.commit()
    return app
