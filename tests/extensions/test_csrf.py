"""Flask-WTF."""

import re

from tests.examples.session import HOST, MULTIPART, field, file, parts
from tests.extensions.rules import in_body, in_header, signing_time
from tests.extensions.visitors import Both, Page

# Both hold a random number: its hash and when it was signed, signed.
RULES = (
    signing_time,
    in_header("set-cookie", r"session=eyJ[\w-]{70,80}\.", "session=<random>."),
    in_body(rb"I[\w-]{55}\.[\w-]{6}\.[\w-]{27}", b"<token>"),
)


def token_in(page: Page) -> str:
    match = re.search(r'name="csrf_token" type="hidden" value="(.+?)"', page.text)
    assert match is not None
    return match[1]


def test_form_with_its_token_is_accepted_and_without_is_not(both: Both) -> None:
    for visitor in both(*RULES):
        token = token_in(visitor.get("/csrf/article"))
        accepted = visitor.post("/csrf/article", form={"csrf_token": token, "title": "Tea"})
        missing = visitor.post("/csrf/article", form={"title": "Tea"})
        wrong = visitor.post("/csrf/article", form={"csrf_token": token + "x", "title": "Tea"})

        assert accepted.json == {"title": "Tea", "picture": None}
        assert (missing.status, "The CSRF token is missing." in missing.text) == (400, True)
        assert (wrong.status, "The CSRF token is invalid." in wrong.text) == (400, True)


def test_token_of_another_session_is_refused(both: Both) -> None:
    for visitor in both(*RULES):
        token = token_in(visitor.someone_else().get("/csrf/article"))
        visitor.get("/csrf/token")
        refused = visitor.post("/csrf/article", form={"csrf_token": token, "title": "Tea"})

        assert (refused.status, "The CSRF tokens do not match." in refused.text) == (400, True)


def test_invalid_form_is_shown_again(both: Both) -> None:
    for visitor in both(*RULES):
        token = token_in(visitor.get("/csrf/article"))
        again = visitor.post("/csrf/article", form={"csrf_token": token, "title": "T" * 21 + "<é>"})

        assert again.status == 422
        assert f'value="{"T" * 21}&lt;é&gt;"' in again.text


def test_multipart_form_carries_token_and_file(both: Both) -> None:
    for visitor in both(*RULES):
        token = token_in(visitor.get("/csrf/article")).encode()
        picture = file("picture", "a.png", "image/png", b"\x89PNG\r\n")
        body = parts(field("csrf_token", token), field("title", b"Tea"), picture)

        assert visitor.send("POST", "/csrf/article", MULTIPART, body).json == {"title": "Tea", "picture": ["a.png", 6]}


def test_header_carries_the_token_of_a_script(both: Both) -> None:
    for visitor in both(*RULES):
        token = visitor.get("/csrf/token").text

        assert visitor.post("/csrf/api", ("X-CSRFToken", token), json={}).text == "done"
        assert visitor.post("/csrf/api", ("X-CSRF-Token", token), json={}).text == "done"
        assert visitor.post("/csrf/api", ("X-CSRFToken", "wrong"), json={}).status == 400
        assert visitor.post("/csrf/api", json={}).status == 400


def test_exempt_view_needs_no_token(both: Both) -> None:
    for visitor in both():
        assert visitor.post("/csrf/hook").text == "anyone may"


def test_token_behind_tls_needs_a_referrer_too(both: Both) -> None:
    for visitor in both(*RULES):
        sent = ("X-CSRFToken", visitor.get("/csrf/token").text), ("X-Forwarded-Proto", "https")
        missing = visitor.post("/csrf/api", *sent)

        assert (missing.status, "The referrer header is missing." in missing.text) == (400, True)
        assert visitor.post("/csrf/api", *sent, ("Referer", f"https://{HOST}/page")).text == "done"
        assert visitor.post("/csrf/api", *sent, ("Referer", "https://evil.test/")).status == 400
