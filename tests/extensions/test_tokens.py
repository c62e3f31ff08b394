"""Flask-JWT-Extended."""

from tests.extensions.rules import expiry_date, in_body, in_header
from tests.extensions.visitors import Both, Visitor

RULES = (
    in_body(rb"[\w-]{36}\.[\w-]{150,400}\.[\w-]{43}", b"<token>"),
    in_header("set-cookie", r"access_token_cookie=[\w-]{36}\.[\w-]{150,400}\.[\w-]{43}", "access_token_cookie=<token>"),
    in_header("set-cookie", r"csrf_access_token=[0-9a-f-]{36}", "csrf_access_token=<uuid>"),
    expiry_date,
)


def log_in(visitor: Visitor) -> dict[str, tuple[str, str]]:
    """The header for each kind of token."""
    tokens = visitor.post("/tokens/log-in", json={"user": "ada"}).json
    return {kind: ("Authorization", f"Bearer {token}") for kind, token in tokens.items()}


def test_token_says_who_and_what(both: Both) -> None:
    for visitor in both(*RULES):
        tokens = log_in(visitor)

        assert visitor.get("/tokens/me", tokens["access"]).json == {"user": "ada", "role": "editor", "fresh": True}
        assert visitor.get("/tokens/fresh", tokens["access"]).text == "fresh"
        assert visitor.get("/tokens/optional").json == {"user": None}


def test_token_that_is_missing_forged_expired_or_of_another_kind(both: Both) -> None:
    for visitor in both(*RULES):
        tokens = log_in(visitor)
        forged = ("Authorization", tokens["access"][1][:-3] + "AAA")
        answers = [
            visitor.get("/tokens/me"),
            visitor.get("/tokens/me", ("Authorization", "Basic YTpi")),
            visitor.get("/tokens/me", ("Authorization", "Bearer nonsense")),
            visitor.get("/tokens/me", forged),
            visitor.get("/tokens/me", tokens["expired"]),
            visitor.get("/tokens/me", tokens["refresh"]),
        ]

        assert [answer.status for answer in answers] == [401, 401, 422, 422, 401, 422]
        assert answers[4].json == {"msg": "Token has expired"}


def test_refreshed_token_is_not_fresh(both: Both) -> None:
    for visitor in both(*RULES):
        tokens = log_in(visitor)
        refreshed = visitor.post("/tokens/refresh", tokens["refresh"]).json["access"]
        header = ("Authorization", f"Bearer {refreshed}")

        assert visitor.get("/tokens/me", header).json == {"user": "ada", "role": None, "fresh": False}
        assert visitor.get("/tokens/fresh", header).json == {"msg": "Fresh token required"}


def test_revoked_token_is_refused(both: Both) -> None:
    for visitor in both(*RULES):
        tokens = log_in(visitor)

        assert visitor.send("DELETE", "/tokens/token", (tokens["access"],)).status == 204
        assert visitor.get("/tokens/me", tokens["access"]).json == {"msg": "Token has been revoked"}


def test_token_in_a_cookie_needs_the_other_cookie_as_a_header(both: Both) -> None:
    for visitor in both(*RULES):
        visitor.post("/tokens/cookies")
        csrf = ("X-CSRF-TOKEN", visitor.cookies["csrf_access_token"])

        assert visitor.get("/tokens/me").json["user"] == "ada"
        assert visitor.post("/tokens/me").json == {"msg": "Missing CSRF token"}
        assert visitor.post("/tokens/me", csrf).json["user"] == "ada"
        visitor.send("DELETE", "/tokens/cookies")
        assert visitor.cookies == {}
