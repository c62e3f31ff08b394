"""Flask's signed session with flash messages, and Flask-Session in Redis."""

from redis import Redis

from tests.extensions.apps.redis_session import KEY_PREFIX, LIFETIME
from tests.extensions.rules import expiry_date, session_id, signing_time
from tests.extensions.visitors import Both, Visitor

SIGNED = "/signed-session"
IN_REDIS = "/redis-session"


def test_signed_session_and_flashed_messages_follow_a_visitor(both: Both) -> None:
    for visitor in both(signing_time):
        added = visitor.post(f"{SIGNED}/cart", form={"item": "tea"})
        first, second = visitor.get(f"{SIGNED}/cart"), visitor.get(f"{SIGNED}/cart")

        assert (added.status, added["location"]) == (303, f"{SIGNED}/cart")
        assert added["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=Lax")
        messages = [["success", "tea is in the cart"], ["message", "two are cheaper"]]
        assert first.json == {"items": ["tea"], "messages": messages}
        assert second.json == {"items": ["tea"], "messages": []}
        assert second["vary"] == "Cookie"
        assert visitor.someone_else().get(f"{SIGNED}/cart").json == {"items": [], "messages": []}


def test_signed_session_with_a_forged_cookie_is_empty(both: Both) -> None:
    for visitor in both(signing_time):
        visitor.post(f"{SIGNED}/cart", form={"item": "tea"})
        payload, *_ = visitor.cookies["session"].split(".")
        visitor.cookies["session"] = f"{payload}.AAAAAA.{'A' * 27}"

        assert visitor.get(f"{SIGNED}/cart").json == {"items": [], "messages": []}


def test_signed_session_cleared_deletes_its_cookie(both: Both) -> None:
    for visitor in both(signing_time):
        visitor.post(f"{SIGNED}/cart", form={"item": "tea"})
        cleared = visitor.post(f"{SIGNED}/empty")

        assert (cleared.status, cleared.body) == (204, b"")
        assert "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0" in cleared["set-cookie"]
        assert visitor.cookies == {}


def test_permanent_signed_session_is_renewed_by_every_request(both: Both) -> None:
    for visitor in both(signing_time, expiry_date):
        visitor.post(f"{SIGNED}/cart", form={"item": "tea", "keep": "1"})
        renewed = visitor.get(f"{SIGNED}/indifferent")

        assert "; Expires=" in renewed["set-cookie"]


def test_session_in_redis_keeps_its_values_out_of_the_cookie(both: Both) -> None:
    for visitor in both(session_id, expiry_date):
        visitor.post(f"{IN_REDIS}/visit")
        again = visitor.post(f"{IN_REDIS}/visit")

        assert again.json == {"user": None, "visits": 2}
        assert "SameSite=Strict" in again["set-cookie"]
        assert visitor.someone_else().get(f"{IN_REDIS}/").json == {"user": None, "visits": 0}
        with connect(visitor) as redis:
            assert 0 < redis.ttl(session_key(visitor)) <= LIFETIME.total_seconds()


def test_session_in_redis_regenerated_leaves_nothing_under_its_old_id(both: Both) -> None:
    for visitor in both(session_id, expiry_date):
        visitor.post(f"{IN_REDIS}/visit")
        thief = visitor.someone_else()
        thief.cookies = dict(visitor.cookies)

        assert visitor.post(f"{IN_REDIS}/log-in", form={"user": "ada"}).json == {"user": "ada", "visits": 1}
        assert visitor.cookies != thief.cookies
        assert visitor.get(f"{IN_REDIS}/").json == {"user": "ada", "visits": 1}
        assert thief.get(f"{IN_REDIS}/").json == {"user": None, "visits": 0}


def test_session_in_redis_ends_with_its_key(both: Both) -> None:
    for visitor in both(session_id, expiry_date):
        visitor.post(f"{IN_REDIS}/visit")
        with connect(visitor) as redis:
            redis.pexpire(session_key(visitor), 0)

            assert visitor.get(f"{IN_REDIS}/").json == {"user": None, "visits": 0}


def test_session_in_redis_cleared_is_deleted_there_too(both: Both) -> None:
    for visitor in both(session_id, expiry_date):
        visitor.post(f"{IN_REDIS}/visit")
        key = session_key(visitor)
        cleared = visitor.post(f"{IN_REDIS}/log-out")

        assert (cleared.status, visitor.cookies) == (204, {})
        with connect(visitor) as redis:
            assert not redis.exists(key)


def connect(visitor: Visitor) -> Redis:
    return Redis.from_url(visitor.server.redis_url)


def session_key(visitor: Visitor) -> str:
    return KEY_PREFIX + visitor.cookies["session"]
