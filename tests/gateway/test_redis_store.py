import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from redis import Redis

from gateway.errors import PlanConflictError, StoreUnavailableError
from gateway.plan import Plan
from gateway.redis_store import RedisStore
from tests.gateway.plans import make_history, move
from tests.servers import RedisServer, find_free_port


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., RedisStore]]:
    stores: list[RedisStore] = []

    def open_one_more(url: str, **options: str) -> RedisStore:
        stores.append(RedisStore(url, **options))
        return stores[-1]

    yield open_one_more
    for store in stores:
        await store.close()


@pytest.fixture
def store(connect: Callable[..., RedisStore], own_server: RedisServer) -> RedisStore:
    return connect(own_server.url)


async def test_keys_are_the_documented_ones(
    store: RedisStore, connect: Callable[..., RedisStore], own_server: RedisServer
) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    await connect(own_server.url, prefix="other").append(changes[:1], Plan(1, changes[0].revision))
    with Redis.from_url(own_server.url, decode_responses=True) as redis:
        assert sorted(redis.keys()) == ["gateway:history", "gateway:plan", "other:history", "other:plan"]
        assert redis.get("gateway:plan") == plan.dumps()
        assert [version for _, version in redis.zrange("gateway:history", 0, -1, withscores=True)] == [1, 2]


async def test_unix_socket_works(connect: Callable[..., RedisStore], own_server: RedisServer) -> None:
    store = connect(f"unix://{own_server.socket_path}?db=1")
    plan, changes = make_history(2)
    await store.append(changes, plan)
    assert await store.load() == plan


async def test_password_is_used_and_never_shown(connect: Callable[..., RedisStore], own_server: RedisServer) -> None:
    own_server.kill()
    own_server.start("--requirepass", "sesame")
    plan, changes = make_history(1)
    store = connect(f"redis://:sesame@127.0.0.1:{own_server.port}/0")
    await store.append(changes, plan)
    assert store.description == f"Redis at {own_server.url}"
    for wrong in (f"redis://:swordfish@127.0.0.1:{own_server.port}/0", own_server.url):
        with pytest.raises(StoreUnavailableError) as refusal:
            await connect(wrong).load()
        assert "swordfish" not in str(refusal.value)


async def test_append_where_history_has_another_type_writes_nothing(store: RedisStore, own_server: RedisServer) -> None:
    plan, changes = make_history(1)
    with Redis.from_url(own_server.url) as redis:
        redis.set("gateway:history", "in the way")
        with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
            await store.append(changes, plan)
        assert redis.get("gateway:plan") is None


async def test_append_after_the_plan_alone_was_lost_keeps_one_entry_a_version(
    store: RedisStore, own_server: RedisServer
) -> None:
    plan, changes = make_history(3)
    await store.append(changes, plan)
    with Redis.from_url(own_server.url) as redis:
        redis.delete("gateway:plan")
    other, others = make_history(2)
    await store.append(others, other)
    assert await store.list_changes() == others[::-1]


@pytest.mark.parametrize("document", ["no json", "[]", "{}", "\udc80".encode("utf-8", "surrogateescape")])
async def test_plan_that_is_none_is_unavailable(
    store: RedisStore, own_server: RedisServer, document: str | bytes
) -> None:
    with Redis.from_url(own_server.url) as redis:
        redis.set("gateway:plan", document)
    with pytest.raises(StoreUnavailableError, match="no plan"):
        await store.load()


async def test_absent_server_is_unavailable_at_once(connect: Callable[..., RedisStore]) -> None:
    store = connect(f"redis://127.0.0.1:{find_free_port()}")
    plan, changes = make_history(1)
    began = time.perf_counter()
    for call in (store.load(), store.append(changes, plan), store.list_changes(), store.wait(5)):
        with pytest.raises(StoreUnavailableError, match=r"Redis at redis://127\.0\.0\.1"):
            await call
    assert time.perf_counter() - began < 1


async def test_hung_server_is_unavailable_soon_and_comes_back(
    store: RedisStore, connect: Callable[..., RedisStore], own_server: RedisServer
) -> None:
    plan, changes = make_history(2)
    await store.append(changes[:1], Plan(1, changes[0].revision))
    await store.wait(0)
    fresh = connect(own_server.url)
    own_server.pause()
    began = time.perf_counter()
    outcomes = await asyncio.gather(
        *(hung.load() for hung in (store, fresh)),
        *(hung.append(changes[1:], plan) for hung in (store, fresh)),
        *(hung.list_changes() for hung in (store, fresh)),
        fresh.wait(0.2),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    await store.wait(0.2)
    assert time.perf_counter() - began < 1.5
    own_server.resume()
    # The hung calls may have been carried out: they can be made again
    await store.append(changes[1:], plan)
    assert await fresh.load() == plan
    assert await fresh.list_changes() == changes[::-1]


async def test_restarted_server_is_used_without_a_failed_call(store: RedisStore, own_server: RedisServer) -> None:
    plan, changes = make_history(1)
    await store.append(changes, plan)
    await store.wait(0)
    own_server.kill()
    own_server.start()
    assert await store.load() == Plan()
    await store.append(changes, plan)
    assert await store.load() == plan


async def test_wait_subscribes_again_after_an_outage(
    store: RedisStore, connect: Callable[..., RedisStore], own_server: RedisServer
) -> None:
    await store.wait(0.1)
    own_server.kill()
    with pytest.raises(StoreUnavailableError):
        await store.wait(5)
    with pytest.raises(StoreUnavailableError):
        await store.wait(5)
    own_server.start()
    await assert_wakes_up(store, connect(own_server.url))


async def test_wait_subscribes_again_after_its_connection_was_closed(
    store: RedisStore, connect: Callable[..., RedisStore], own_server: RedisServer
) -> None:
    await store.wait(0.1)
    with Redis.from_url(own_server.url) as redis:
        redis.client_kill_filter(_type="pubsub")
    await assert_wakes_up(store, connect(own_server.url))


async def assert_wakes_up(store: RedisStore, writer: RedisStore) -> None:
    await store.wait(0.2)
    await store.wait(0.2)
    waiting = asyncio.create_task(store.wait(10))
    plan, changes = make_history(1)
    began = time.perf_counter()
    await writer.append(changes, plan)
    await waiting
    assert time.perf_counter() - began < 1


async def test_wait_that_may_not_subscribe_sleeps(connect: Callable[..., RedisStore], own_server: RedisServer) -> None:
    with Redis.from_url(own_server.url) as redis:
        redis.acl_setuser("mute", enabled=True, passwords=["+x"], keys=["*"], categories=["+@all"], reset_channels=True)
    store = connect(f"redis://mute:x@127.0.0.1:{own_server.port}/0")
    plan, changes = make_history(1)
    await store.append(changes, plan)
    assert await store.load() == plan
    for _ in range(2):
        began = time.perf_counter()
        await store.wait(0.2)
        assert 0.19 < time.perf_counter() - began < 1


async def test_read_only_replica_is_unavailable_for_changes(store: RedisStore, own_server: RedisServer) -> None:
    with Redis.from_url(own_server.url) as redis:
        redis.replicaof("127.0.0.1", own_server.port)
    plan, changes = make_history(1)
    with pytest.raises(StoreUnavailableError):
        await store.append(changes, plan)


async def test_closed_store_leaves_no_connection(store: RedisStore, own_server: RedisServer) -> None:
    await store.wait(0)
    await asyncio.gather(*(store.load() for _ in range(5)))
    await store.close()
    with Redis.from_url(own_server.url) as redis:
        assert len(redis.client_list()) == 1


async def test_conflict_is_told_from_an_outage(store: RedisStore) -> None:
    plan, changes = make_history(1)
    await store.append(changes, plan)
    late, change = move(Plan())
    with pytest.raises(PlanConflictError, match="try again"):
        await store.append([change], late)
