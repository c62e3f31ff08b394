"""Flask-Login."""

from tests.extensions.rules import expiry_date, signing_time
from tests.extensions.visitors import Both

LOGIN = {"name": "ada", "next": "/login/private"}


def test_stranger_is_sent_to_the_login_page_and_back(both: Both) -> None:
    for visitor in both(signing_time):
        refused = visitor.get("/login/private?a=1")
        asked = visitor.get(refused["location"])
        entered = visitor.post("/login/log-in", form=LOGIN)

        assert refused.status == 302
        assert refused["location"] == "/login/log-in?next=%2Flogin%2Fprivate%3Fa%3D1"
        assert asked.text == "log in to see /login/private?a=1"
        assert (entered.status, entered["location"]) == (302, "/login/private")
        assert visitor.get("/login/private").text == "private page of ada"
        assert visitor.get("/login/password").text == "password of ada"


def test_unknown_user_stays_a_stranger(both: Both) -> None:
    for visitor in both(signing_time):
        assert visitor.post("/login/log-in", form={"name": "eve"}).status == 403
        assert visitor.get("/login/").text == "hello stranger"


def test_logged_out_user_is_a_stranger_again(both: Both) -> None:
    for visitor in both(signing_time, expiry_date):
        visitor.post("/login/log-in", form={**LOGIN, "remember": "1"})
        left = visitor.post("/login/log-out")

        assert (left.status, left["location"]) == (302, "/login/")
        assert "remember_token" not in visitor.cookies
        assert visitor.get("/login/").text == "hello stranger"
        assert visitor.post("/login/log-out").status == 302


def test_remembered_user_needs_no_session_but_is_not_fresh(both: Both) -> None:
    for visitor in both(signing_time, expiry_date):
        visitor.post("/login/log-in", form={**LOGIN, "remember": "1"})
        del visitor.cookies["session"]

        assert visitor.get("/login/private").text == "private page of ada"
        assert visitor.get("/login/password")["location"].startswith("/login/log-in?next=")


def test_forged_remember_cookie_is_worth_nothing(both: Both) -> None:
    for visitor in both(signing_time):
        visitor.cookies["remember_token"] = f"ada|{'0' * 128}"

        assert visitor.get("/login/").text == "hello stranger"


def test_session_moved_to_another_browser_is_refused(both: Both) -> None:
    for visitor in both(signing_time):
        visitor.post("/login/log-in", form=LOGIN)

        assert visitor.get("/login/", ("User-Agent", "another/1.0")).text == "hello stranger"


def test_request_loader_knows_a_token(both: Both) -> None:
    for visitor in both(signing_time):
        assert visitor.get("/login/private", ("X-Token", "graces")).text == "private page of grace"
        assert visitor.get("/login/private", ("X-Token", "eves")).status == 302
