"""Flask-CORS."""

import pytest

from tests.extensions.visitors import Both

FRONT = ("Origin", "https://front.test")
EVIL = ("Origin", "https://evil.test")


def preflight(method: str, headers: str = "content-type, x-token") -> tuple[tuple[str, str], ...]:
    return ("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", headers)


def test_preflight_of_an_allowed_origin(both: Both) -> None:
    for visitor in both():
        page = visitor.send("OPTIONS", "/cors/api/items", (FRONT, *preflight("PUT")))

        assert (page.status, page.body) == (200, b"")
        assert page.header("access-control-allow-origin") == "https://front.test"
        assert page.header("access-control-allow-credentials") == "true"
        assert page.header("access-control-allow-headers") == "content-type, x-token"
        assert page.header("access-control-max-age") == "600"
        assert "PUT" in page["access-control-allow-methods"]
        assert page.list_headers("vary") == ["Origin"]


def test_preflight_of_another_origin_allows_nothing(both: Both) -> None:
    for visitor in both():
        page = visitor.send("OPTIONS", "/cors/api/items", (EVIL, *preflight("PUT")))

        assert (page.status, page.header("access-control-allow-origin")) == (200, None)


def test_origin_by_pattern(both: Both) -> None:
    for visitor in both():
        page = visitor.get("/cors/api/items", ("Origin", "https://branch.preview.test"))

        assert page.header("access-control-allow-origin") == "https://branch.preview.test"


def test_request_with_credentials(both: Both) -> None:
    for visitor in both():
        visitor.cookies["session"] = "x"
        page = visitor.get("/cors/api/items", FRONT)

        assert page.json == {"items": []}
        assert page.header("access-control-allow-origin") == "https://front.test"
        assert page.header("access-control-expose-headers") == "X-Total"
        assert page.list_headers("vary") == ["Cookie", "Origin"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/cors/api/forbidden", 403), ("/cors/api/missing", 404), ("/cors/api/broken", 500)],
)
def test_errors_can_be_read_by_the_origin_too(both: Both, path: str, status: int) -> None:
    for visitor in both():
        page = visitor.get(path, FRONT)

        assert (page.status, page.header("access-control-allow-origin")) == (status, "https://front.test")


def test_wrong_method_can_be_read_by_the_origin_too(both: Both) -> None:
    for visitor in both():
        page = visitor.send("DELETE", "/cors/api/items", (FRONT,))

        assert (page.status, page.header("access-control-allow-origin")) == (405, "https://front.test")
        assert set(page["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST", "PUT"}


def test_open_route_is_open_and_closed_route_is_closed(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/cors/open", EVIL).header("access-control-allow-origin") == EVIL[1]
        assert visitor.get("/cors/closed", FRONT).header("access-control-allow-origin") is None
