"""Werkzeug's ProxyFix and DispatcherMiddleware: an app that is told where it stands."""

import pytest

from tests.examples.session import HOST
from tests.extensions.rules import signing_time
from tests.extensions.visitors import Both

BEHIND_PROXY = (
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.test"),
    ("X-Forwarded-Port", "8443"),
    ("X-Forwarded-Prefix", "/outer"),
)


def test_local_proxy_tells_the_scheme_without_proxy_fix(both: Both) -> None:
    for visitor in both():
        urls = visitor.get("/urls/x", ("X-Forwarded-Proto", "https")).json

        assert urls["external"].startswith(f"https://{HOST}/urls/x")


def test_without_a_proxy_the_app_sees_the_connection(both: Both) -> None:
    for visitor in both(signing_time):
        where = visitor.get("/proxied/where").json

        assert (where["address"], where["scheme"], where["host"]) == ("127.0.0.1", "http", HOST)
        assert where["external"] == f"http://{HOST}/proxied/where"


def test_behind_a_proxy_the_app_sees_the_client(both: Both) -> None:
    for visitor in both(signing_time):
        page = visitor.get("/proxied/where", *BEHIND_PROXY)

        assert page.json == {
            "address": "203.0.113.7",
            "route": ["203.0.113.7"],
            "scheme": "https",
            "secure": True,
            "host": "shop.test:8443",
            "root": "https://shop.test:8443/outer/",
            "script": "/outer",
            "path": "/where",
            "url": "https://shop.test:8443/outer/where",
            "external": "https://shop.test:8443/outer/where",
            "original": {
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_HOST": HOST,
                "SERVER_NAME": "127.0.0.1",
                "SCRIPT_NAME": "/proxied",
            },
        }
        assert "; Secure;" in page["set-cookie"]


def test_redirect_goes_through_the_proxy(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/proxied/moved", *BEHIND_PROXY)["location"] == "/outer/where"


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-For", "198.51.100.1, 203.0.113.7")],
        [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")],
    ],
    ids=["in one header", "in two"],
)
def test_client_cannot_add_itself_an_address(both: Both, headers: list[tuple[str, str]]) -> None:
    for visitor in both(signing_time):
        where = visitor.get("/proxied/where", *headers).json

        assert where["address"] == "203.0.113.7"
        assert where["route"] == ["198.51.100.1", "203.0.113.7"]


def test_each_app_behind_the_dispatcher_has_its_prefix(both: Both) -> None:
    for visitor in both(signing_time):
        assert visitor.get("/urls/x").json["relative"] == "/urls/x"
        assert visitor.get("/login/private")["location"].startswith("/login/log-in?")
        assert visitor.get("/login").status == 308
        assert visitor.get("/loginx").text == "nothing at /loginx"
        assert visitor.get("//login/").text == "nothing at /login/"
