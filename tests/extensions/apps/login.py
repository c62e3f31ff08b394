"""Flask-Login."""

from datetime import timedelta

from flask import Flask, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    fresh_login_required,
    login_required,
    login_user,
    logout_user,
)

app = Flask(__name__)
app.config.update(SECRET_KEY="login", REMEMBER_COOKIE_DURATION=timedelta(days=30), REMEMBER_COOKIE_HTTPONLY=True)
manager = LoginManager(app)
manager.login_view = "log_in"
manager.refresh_view = "log_in"
manager.session_protection = "strong"


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@manager.user_loader
def load_user(name: str) -> User | None:
    return User(name) if name in ("ada", "grace") else None


@manager.request_loader
def load_from_token(request: object) -> User | None:
    token = request.headers.get("X-Token", "")  # type: ignore[attr-defined]
    return User("grace") if token == "graces" else None


@app.route("/log-in", methods=["GET", "POST"])
def log_in() -> ResponseReturnValue:
    if request.method == "GET":
        return f"log in to see {request.args.get('next')}"
    user = load_user(request.form["name"])
    if user is None:
        return "nobody of that name", 403
    login_user(user, remember="remember" in request.form)
    return redirect(request.form.get("next") or url_for("private"))


@app.post("/log-out")
@login_required
def log_out() -> ResponseReturnValue:
    logout_user()
    return redirect(url_for("public"))


@app.get("/")
def public() -> ResponseReturnValue:
    return f"hello {current_user.get_id() if current_user.is_authenticated else 'stranger'}"


@app.get("/private")
@login_required
def private() -> ResponseReturnValue:
    return f"private page of {current_user.id}"


@app.get("/password")
@fresh_login_required
def password() -> ResponseReturnValue:
    return f"password of {current_user.id}"
