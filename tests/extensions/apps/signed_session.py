"""Flask's own session and flash messages."""

from datetime import timedelta

from flask import Flask, flash, get_flashed_messages, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

app = Flask(__name__)
app.config.update(
    SECRET_KEY="signed",
    SESSION_COOKIE_SAMESITE="Lax",
    PERMANENT_SESSION_LIFETIME=timedelta(days=2),
)


@app.get("/cart")
def cart() -> ResponseReturnValue:
    return {"items": session.get("items", []), "messages": get_flashed_messages(with_categories=True)}


@app.post("/cart")
def add() -> ResponseReturnValue:
    session["items"] = [*session.get("items", []), request.form["item"]]
    session.permanent = "keep" in request.form
    flash(f"{request.form['item']} is in the cart", "success")
    flash("two are cheaper")
    return redirect(url_for("cart"), 303)


@app.post("/empty")
def empty() -> ResponseReturnValue:
    session.clear()
    return "", 204


@app.get("/indifferent")
def indifferent() -> ResponseReturnValue:
    return "does not look at the session"
