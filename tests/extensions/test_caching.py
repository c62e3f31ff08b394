"""Flask-Caching, in the process and in Redis."""

import pytest
from redis import Redis

from tests.extensions.apps.caching import KEY_PREFIX, TIMEOUT_S
from tests.extensions.visitors import Both, Visitor

APPS = pytest.mark.parametrize("app", ["/cached/process", "/cached/redis"])


def empty(visitor: Visitor, app: str) -> None:
    assert visitor.send("DELETE", f"{app}/").status == 204


@APPS
def test_page_is_rendered_once(both: Both, app: str) -> None:
    for visitor in both():
        empty(visitor, app)
        first, second = visitor.get(f"{app}/page"), visitor.get(f"{app}/page")

        assert (first.body, first.header("x-shelf")) == (second.body, second.header("x-shelf"))
        assert (first.header("hit_cache"), second.header("hit_cache")) == (None, "True")
        assert visitor.send("HEAD", f"{app}/page").body == b""


@APPS
def test_page_is_rendered_again_when_the_cache_was_cleared(both: Both, app: str) -> None:
    for visitor in both():
        empty(visitor, app)
        first = visitor.get(f"{app}/page")
        empty(visitor, app)

        assert visitor.get(f"{app}/page").body != first.body


@APPS
def test_query_is_part_of_the_key_in_any_order(both: Both, app: str) -> None:
    for visitor in both():
        empty(visitor, app)
        first, second = visitor.get(f"{app}/search?a=1&b=2"), visitor.get(f"{app}/search?b=2&a=1")

        assert first.body == second.body
        assert visitor.get(f"{app}/search?a=2&b=1").body != first.body


@APPS
def test_cache_is_passed_over_on_request(both: Both, app: str) -> None:
    for visitor in both():
        empty(visitor, app)
        first, fresh = visitor.get(f"{app}/unless"), visitor.get(f"{app}/unless?fresh")

        assert first.body != fresh.body
        assert visitor.get(f"{app}/unless").body == first.body


@APPS
def test_memoized_function_runs_once_for_each_argument_until_forgotten(both: Both, app: str) -> None:
    for visitor in both():
        empty(visitor, app)
        three, again = (visitor.get(f"{app}/square/3").json for _ in range(2))
        four = visitor.get(f"{app}/square/4").json
        visitor.send("DELETE", f"{app}/square/3")

        assert (three[0], four[0]) == (9, 16)
        assert again == three
        assert visitor.get(f"{app}/square/3").json[1] > four[1]
        assert visitor.get(f"{app}/square/4").json == four


def test_page_in_redis_lasts_as_long_as_its_key(both: Both) -> None:
    for visitor in both():
        empty(visitor, "/cached/redis")
        first = visitor.get("/cached/redis/page")
        with Redis.from_url(visitor.server.redis_url) as redis:
            (key,) = redis.keys(f"{KEY_PREFIX}*")

            assert 0 < redis.ttl(key) <= TIMEOUT_S
            redis.pexpire(key, 0)

        assert visitor.get("/cached/redis/page").body != first.body
