import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from gateway.errors import PlanConflictError, StoreUnavailableError
from gateway.follower import PlanFollower
from gateway.plan import Change, Plan
from gateway.redis_store import RedisStore
from gateway.sqlite_store import SqliteStore
from gateway.store import Store, encode_change
from tests.gateway.plans import eventually, make_history, move
from tests.servers import RedisServer, find_free_port


class Workers:
    """Followers as the gateway's processes have them: each with a store and a copy of its own, on the same places."""

    def __init__(self, url: str, copy_path: Path) -> None:
        self.url = url
        self.copy_path = copy_path
        self._running: list[tuple[PlanFollower, Store, SqliteStore]] = []

    async def start(self, *, store: Store | None = None, copy_path: Path | None = None) -> PlanFollower:
        store, copy = store or RedisStore(self.url), SqliteStore(copy_path or self.copy_path)
        follower = PlanFollower(store, copy)
        self._running.append((follower, store, copy))
        await follower.start()
        return follower

    async def stop(self) -> None:
        for follower, store, copy in self._running:
            await follower.stop()
            await store.close()
            await copy.close()
        self._running = []


@pytest.fixture
def copy_path(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


@pytest.fixture
def no_copy_path(tmp_path: Path) -> Path:
    """Where no file can be made, not even by root."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "copy.db"


@pytest.fixture
async def workers(own_server: RedisServer, copy_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(own_server.url, copy_path)
    yield workers
    await workers.stop()


@pytest.fixture
async def store(own_server: RedisServer) -> AsyncIterator[RedisStore]:
    """The test's own view of the store."""
    store = RedisStore(own_server.url)
    yield store
    await store.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="gateway.plan")
    return lambda: [f"{record.levelname} {record.message}" for record in caplog.records]


async def change(follower: PlanFollower, times: int = 1) -> None:
    for _ in range(times):
        await follower.append(*move(follower.plan, f"GET /news/{follower.plan.version + 1}"))


async def read_copy(path: Path) -> tuple[Plan, list[Change]]:
    copy = SqliteStore(path)
    kept = await copy.load(), await copy.list_changes()
    await copy.close()
    return kept


def put_history(server: RedisServer, plan: Plan, changes: Sequence[Change]) -> None:
    """As when someone restores a dump: plan and history at once, whatever was there before."""
    with Redis.from_url(server.url) as redis, redis.pipeline(transaction=True) as transaction:
        transaction.delete("gateway:history")
        transaction.zadd("gateway:history", {encode_change(change): change.version for change in changes})
        transaction.set("gateway:plan", plan.dumps())
        transaction.execute()


def is_followed(follower: PlanFollower, plan: Plan) -> Callable[[], bool]:
    return lambda: follower.plan == plan


def is_degraded(follower: PlanFollower) -> Callable[[], bool]:
    return lambda: follower.degraded is not None


def is_well(follower: PlanFollower) -> Callable[[], bool]:
    return lambda: follower.degraded is None


async def test_start_with_an_empty_store_holds_the_empty_plan(workers: Workers) -> None:
    follower = await workers.start()
    assert (follower.plan, follower.degraded, follower.degraded_since) == (Plan(), None, None)


async def test_start_takes_the_plan_in_the_store(workers: Workers, store: RedisStore) -> None:
    plan, changes = make_history(3)
    await store.append(changes, plan)
    before = datetime.now(UTC)
    follower = await workers.start()
    assert follower.plan == plan
    assert before <= follower.followed_at <= datetime.now(UTC)


async def test_append_is_in_force_here_when_it_returns(workers: Workers, store: RedisStore) -> None:
    follower = await workers.start()
    seen: list[Plan] = []
    follower.subscribe(seen.append)
    plan, entry = move(follower.plan)
    before = datetime.now(UTC)
    await follower.append(plan, entry)
    assert follower.plan is plan
    assert follower.followed_at >= before
    assert seen == [plan]
    assert await store.load() == plan
    assert await store.list_changes() == [entry]


async def test_append_on_a_stale_plan_is_refused_and_brings_the_new_one(workers: Workers, store: RedisStore) -> None:
    follower = await workers.start()
    stale = follower.plan
    plan, changes = make_history(1)
    await store.append(changes, plan)
    with pytest.raises(PlanConflictError):
        await follower.append(*move(stale))
    assert follower.plan == plan


async def test_append_without_the_store_is_refused_and_changes_nothing(
    workers: Workers, own_server: RedisServer
) -> None:
    follower = await workers.start()
    await change(follower)
    plan = follower.plan
    own_server.kill()
    with pytest.raises(StoreUnavailableError):
        await change(follower)
    assert follower.plan is plan


@pytest.mark.parametrize("kind", ["sqlite", "valkey", "redis"])
async def test_change_reaches_another_worker_within_a_second(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, copy_path: Path
) -> None:
    def connect() -> Store:
        if kind == "sqlite":
            return SqliteStore(tmp_path / "plan.db")
        return RedisStore(request.getfixturevalue(f"{kind}_server").url, prefix=tmp_path.name)

    workers = Workers("", copy_path)
    try:
        leader, other = await workers.start(store=connect()), await workers.start(store=connect())
        for _ in range(10):
            await change(leader)
            await eventually(is_followed(other, leader.plan), within_s=1)
            leader, other = other, leader
    finally:
        await workers.stop()


async def test_change_reaches_a_worker_that_may_not_subscribe_within_a_second(
    workers: Workers, own_server: RedisServer
) -> None:
    with Redis.from_url(own_server.url) as redis:
        redis.acl_setuser("mute", enabled=True, passwords=["+x"], keys=["*"], categories=["+@all"], reset_channels=True)
    mute = await workers.start(store=RedisStore(f"redis://mute:x@127.0.0.1:{own_server.port}/0"))
    leader = await workers.start()
    for _ in range(3):
        await change(leader)
        await eventually(is_followed(mute, leader.plan), within_s=1)
    assert mute.degraded is None


async def test_subscriber_that_fails_leaves_the_others_alone(workers: Workers, log: Callable[[], list[str]]) -> None:
    follower = await workers.start()
    seen: list[int] = []
    follower.subscribe(lambda plan: 1 // 0)
    follower.subscribe(lambda plan: seen.append(plan.version))
    await change(follower, times=2)
    assert seen == [1, 2]
    assert "ERROR a callback failed on version 1 of the plan" in log()


async def test_plan_and_history_are_copied(workers: Workers, store: RedisStore) -> None:
    plan, changes = make_history(3)
    await store.append(changes, plan)
    follower = await workers.start()
    await change(follower, times=2)
    expected = follower.plan, await store.list_changes()
    await workers.stop()
    assert await read_copy(workers.copy_path) == expected


async def test_copy_shared_by_many_workers_is_complete(workers: Workers, store: RedisStore) -> None:
    followers = [await workers.start() for _ in range(4)]
    for number in range(12):
        leader = followers[number % 4]
        await change(leader)
        for follower in followers:
            await eventually(is_followed(follower, leader.plan), within_s=1)
    await workers.stop()
    assert await read_copy(workers.copy_path) == (leader.plan, await store.list_changes())


async def test_copy_that_was_deleted_is_written_again_with_the_next_change(workers: Workers, store: RedisStore) -> None:
    follower = await workers.start()
    await change(follower, times=3)
    await workers.stop()
    follower = await workers.start()
    workers.copy_path.unlink()
    await change(follower)
    await workers.stop()
    assert await read_copy(workers.copy_path) == (follower.plan, await store.list_changes())


async def test_start_without_the_store_serves_from_the_copy(workers: Workers, own_server: RedisServer) -> None:
    plan = await leave_a_copy(workers, versions=3)
    own_server.kill()
    before = datetime.now(UTC)
    follower = await workers.start()
    assert follower.plan == plan
    assert follower.degraded is not None
    assert "Redis at redis://127.0.0.1" in follower.degraded
    assert follower.degraded_since is not None
    assert follower.degraded_since >= before


async def leave_a_copy(workers: Workers, versions: int) -> Plan:
    follower = await workers.start()
    await change(follower, times=versions)
    await workers.stop()
    return follower.plan


async def test_start_without_store_and_copy_holds_the_empty_plan(workers: Workers, no_copy_path: Path) -> None:
    store = RedisStore(f"redis://127.0.0.1:{find_free_port()}")
    follower = await workers.start(store=store, copy_path=no_copy_path)
    assert follower.plan == Plan()
    assert follower.degraded is not None


async def test_outage_is_logged_once_and_over_by_itself(
    workers: Workers, own_server: RedisServer, log: Callable[[], list[str]]
) -> None:
    follower = await workers.start()
    await change(follower)
    plan = follower.plan
    own_server.pause()
    await eventually(is_degraded(follower))
    since = follower.degraded_since
    own_server.kill()
    await eventually(lambda: "connecting to" in (follower.degraded or ""))
    assert follower.degraded_since == since
    assert follower.plan is plan
    own_server.start()
    await eventually(is_well(follower), within_s=2)
    assert follower.degraded_since is None
    assert [line for line in log() if "stays in force" in line or "is back" in line] == [
        log()[0],
        "INFO the store is back, with version 1 of the plan",
    ]
    assert log()[0].startswith("WARNING version 1 of the plan stays in force: Redis at")


async def test_hung_store_degrades_and_recovers(workers: Workers, own_server: RedisServer) -> None:
    follower = await workers.start()
    await change(follower, times=2)
    plan = follower.plan
    own_server.pause()
    await eventually(is_degraded(follower), within_s=2)
    assert follower.plan is plan
    own_server.resume()
    await eventually(is_well(follower), within_s=2)
    assert follower.plan is plan


async def test_store_that_comes_back_empty_gets_plan_and_history_back(
    workers: Workers, store: RedisStore, own_server: RedisServer, log: Callable[[], list[str]]
) -> None:
    followers = [await workers.start() for _ in range(3)]
    await change(followers[0], times=5)
    plan, history = await store.load(), await store.list_changes()
    for follower in followers:
        await eventually(is_followed(follower, plan))
    own_server.kill()
    for follower in followers:
        await eventually(is_degraded(follower))
    own_server.start()
    for follower in followers:
        await eventually(is_well(follower))
        assert follower.plan == plan
    assert await store.load() == plan
    assert await store.list_changes() == history
    assert "WARNING the store came back with version 0 of the plan: put back version 5 and 5 changes" in log()


async def test_store_that_is_emptied_without_an_outage_gets_its_plan_back(
    workers: Workers, store: RedisStore, own_server: RedisServer
) -> None:
    follower = await workers.start()
    await change(follower, times=3)
    history = await store.list_changes()
    with Redis.from_url(own_server.url) as redis:
        redis.flushall()
    await until_stored(store, follower.plan)
    assert await store.list_changes() == history


async def until_stored(store: Store, plan: Plan) -> None:
    async with asyncio.timeout(5):
        while not await is_stored(store, plan):
            await store.wait(0.05)


async def is_stored(store: Store, plan: Plan) -> bool:
    try:
        return await store.load() == plan
    except StoreUnavailableError:
        return False


async def test_store_that_comes_back_empty_after_a_restart_gets_plan_and_history_from_the_copy(
    workers: Workers, store: RedisStore, own_server: RedisServer
) -> None:
    plan = await leave_a_copy(workers, versions=4)
    history = await store.list_changes()
    own_server.kill()
    follower = await workers.start()
    assert follower.plan == plan
    own_server.start()
    await eventually(is_well(follower))
    assert await store.load() == plan
    assert await store.list_changes() == history


async def test_start_on_a_store_that_has_been_emptied_puts_the_copy_back(
    workers: Workers, store: RedisStore, own_server: RedisServer
) -> None:
    plan = await leave_a_copy(workers, versions=4)
    history = await store.list_changes()
    own_server.kill()
    own_server.start()
    follower = await workers.start()
    assert follower.plan == plan
    assert await store.load() == plan
    assert await store.list_changes() == history


async def test_start_on_an_empty_store_without_a_copy_puts_nothing_back(workers: Workers, store: RedisStore) -> None:
    await workers.start()
    assert await store.load() == Plan()
    assert await store.list_changes() == []


async def test_store_that_comes_back_with_an_older_plan_gets_the_newer_one_back(
    workers: Workers, store: RedisStore, own_server: RedisServer
) -> None:
    follower = await workers.start()
    await change(follower, times=3)
    old, dump = follower.plan, await store.list_changes()
    await change(follower, times=4)
    plan, history = follower.plan, await store.list_changes()
    seen: list[int] = []
    follower.subscribe(lambda plan: seen.append(plan.version))
    put_history(own_server, old, dump)
    await until_stored(store, plan)
    assert await store.list_changes() == history
    assert seen == []


async def test_worker_behind_the_others_does_not_lose_their_change_when_the_store_is_lost(
    workers: Workers, store: RedisStore, own_server: RedisServer, tmp_path: Path
) -> None:
    ahead = await workers.start()
    await change(ahead, times=4)
    history = await store.list_changes()
    await leave_a_copy_of(tmp_path / "other-machine.db", history[2:])
    own_server.kill()
    behind = await workers.start(copy_path=tmp_path / "other-machine.db")
    assert behind.plan.version == 2
    own_server.start()
    await until_stored(store, ahead.plan)
    await eventually(is_followed(behind, ahead.plan))
    assert await store.list_changes() == history


async def leave_a_copy_of(path: Path, changes: Sequence[Change]) -> None:
    plan = Plan()
    for entry in reversed(changes):
        plan = Plan(entry.version, entry.revision, {**plan.placements, **{m.endpoint: m.after for m in entry.moves}})
    copy = SqliteStore(path)
    await copy.append(changes[::-1], plan)
    await copy.close()


@pytest.mark.parametrize("versions", [2, 5, 9])
async def test_store_with_another_history_is_followed_and_copied(
    versions: int, workers: Workers, store: RedisStore, own_server: RedisServer, log: Callable[[], list[str]]
) -> None:
    follower = await workers.start()
    await change(follower, times=5)
    other, others = make_history(versions)
    put_history(own_server, other, others)
    await eventually(is_followed(follower, other), within_s=1)
    await change(follower)
    history = await store.list_changes()
    await workers.stop()
    assert history[1:] == others[::-1]
    assert await read_copy(workers.copy_path) == (follower.plan, history)
    dropped = f"with version {versions} in force: dropped versions 1 to 5 of ours"
    assert f"WARNING the store holds another history, {dropped}" in log()


async def test_store_whose_history_parted_from_ours_names_only_what_is_dropped(
    workers: Workers, store: RedisStore, own_server: RedisServer, log: Callable[[], list[str]]
) -> None:
    follower = await workers.start()
    await change(follower, times=2)
    shared = follower.plan, (await store.list_changes())[::-1]
    await change(follower, times=2)
    other, others = make_history(1, shared[0])
    put_history(own_server, other, [*shared[1], *others])
    await eventually(is_followed(follower, other), within_s=1)
    await workers.stop()
    assert await read_copy(workers.copy_path) == (other, [*shared[1], *others][::-1])
    assert "WARNING the store holds another history, with version 3 in force: dropped versions 3 to 4 of ours" in log()


async def test_store_whose_history_is_gone_is_followed(
    workers: Workers, store: RedisStore, own_server: RedisServer, log: Callable[[], list[str]]
) -> None:
    follower = await workers.start()
    await change(follower, times=2)
    other, _ = make_history(4)
    with Redis.from_url(own_server.url) as redis, redis.pipeline(transaction=True) as transaction:
        transaction.delete("gateway:history")
        transaction.set("gateway:plan", other.dumps())
        transaction.execute()
    await eventually(is_followed(follower, other), within_s=1)
    await eventually(
        lambda: "WARNING the store holds version 4 of the plan without the history that led to it" in log()
    )
    await workers.stop()
    assert await read_copy(workers.copy_path) == (other, [])


async def test_failing_copy_is_logged_once_and_breaks_nothing(
    workers: Workers, store: RedisStore, own_server: RedisServer, no_copy_path: Path, log: Callable[[], list[str]]
) -> None:
    follower = await workers.start(copy_path=no_copy_path)
    await change(follower, times=3)
    history = await store.list_changes()
    own_server.kill()
    own_server.start()
    await until_stored(store, follower.plan)
    assert await store.list_changes() == history
    assert len([line for line in log() if "the plan is not copied" in line]) == 1


async def test_copy_that_fails_for_a_while_catches_up(workers: Workers, store: RedisStore, no_copy_path: Path) -> None:
    follower = await workers.start(copy_path=no_copy_path)
    await change(follower, times=3)
    no_copy_path.parent.unlink()
    await change(follower, times=2)
    await workers.stop()
    assert await read_copy(no_copy_path) == (follower.plan, await store.list_changes())


async def test_history_that_is_lost_everywhere_is_named_in_what_is_put_back(
    workers: Workers, store: RedisStore, own_server: RedisServer, no_copy_path: Path
) -> None:
    plan, changes = make_history(4)
    await store.append(changes, plan)
    with Redis.from_url(own_server.url) as redis:
        redis.delete("gateway:history")
    follower = await workers.start(copy_path=no_copy_path)
    await change(follower)
    newest = await store.list_changes()
    own_server.kill()
    own_server.start()
    await until_stored(store, follower.plan)
    *known, bridge = await store.list_changes()
    assert known == newest
    assert (bridge.version, bridge.revision, bridge.parent, bridge.moves) == (4, plan.revision, "", ())
    assert bridge.reason == "the history up to this version was lost with the store"


@pytest.mark.parametrize("loss", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
async def test_sqlite_store_that_is_deleted_or_emptied_gets_its_plan_back(
    loss: Callable[[Path], None], workers: Workers, tmp_path: Path
) -> None:
    path = tmp_path / "plan.db"
    followers = [await workers.start(store=SqliteStore(path)) for _ in range(2)]
    own = SqliteStore(path)
    await change(followers[0], times=3)
    plan, history = followers[0].plan, await own.list_changes()
    await eventually(is_followed(followers[1], plan))
    loss(path)
    await own.close()
    own = SqliteStore(path)
    await until_stored(own, plan)
    assert await own.list_changes() == history
    for follower in followers:
        await eventually(is_well(follower))
        assert follower.plan == plan
    await change(followers[1])
    await eventually(is_followed(followers[0], followers[1].plan), within_s=1)
    await own.close()


class FailingOnce(SqliteStore):
    """Meets an error that nobody has thought of."""

    fails = False

    async def load(self) -> Plan:
        if self.fails:
            self.fails = False
            raise RuntimeError("not thought of")
        return await super().load()


async def test_unforeseen_error_does_not_end_the_following(
    workers: Workers, tmp_path: Path, log: Callable[[], list[str]]
) -> None:
    store = FailingOnce(tmp_path / "plan.db")
    follower = await workers.start(store=store)
    leader = await workers.start(store=SqliteStore(tmp_path / "plan.db"))
    store.fails = True
    await eventually(is_degraded(follower))
    assert follower.degraded == "RuntimeError('not thought of')"
    await change(leader)
    await eventually(is_followed(follower, leader.plan), within_s=1)
    await eventually(is_well(follower))
    assert "ERROR following the plan failed" in log()
