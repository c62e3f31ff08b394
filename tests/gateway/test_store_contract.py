"""What every store promises, on SQLite, Valkey and genuine Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.errors import PlanConflictError
from gateway.plan import Change, Move, Placement, Plan, Stage
from gateway.redis_store import RedisStore
from gateway.sqlite_store import SqliteStore
from gateway.store import Store
from tests.gateway.plans import LEGACY, make_history, move
from tests.servers import RedisServer


@pytest.fixture(params=["sqlite", "valkey", "redis"])
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Store]]:
    """Opens the same place each time, as another process would."""
    stores: list[Store] = []
    server: RedisServer | None = None
    if request.param != "sqlite":
        server = request.getfixturevalue(f"{request.param}_server")

    def open_one_more() -> Store:
        stores.append(
            RedisStore(server.url, prefix=tmp_path.name) if server else SqliteStore(tmp_path / "state" / "plan.db")
        )
        return stores[-1]

    yield open_one_more
    for store in stores:
        await store.close()


@pytest.fixture
def store(connect: Callable[[], Store]) -> Store:
    return connect()


async def test_load_in_an_empty_store_gives_the_empty_plan(store: Store) -> None:
    assert await store.load() == Plan()
    assert await store.list_changes() == []


async def test_append_is_seen_whole_by_another_process(connect: Callable[[], Store]) -> None:
    moves = (
        Move("GET /новости/{id}", LEGACY, Placement(Stage.CANARY, 12.5)),
        Move("POST /news", Placement(Stage.CANARY, 100), Placement(Stage.ASYNC)),
    )
    plan, change = Plan().change(moves, actor="оператор", reason='it "works"\n')
    await connect().append([change], plan)
    assert await connect().load() == plan
    assert await connect().list_changes() == [change]


async def test_append_takes_many_changes_at_once(store: Store) -> None:
    plan, changes = make_history(300)
    await store.append(changes, plan)
    assert await store.load() == plan
    assert await store.list_changes() == changes[::-1]


async def test_append_to_another_version_is_refused_and_writes_nothing(store: Store) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    for stale in (Plan(), Plan(version=1, revision=changes[0].revision), Plan(version=2, revision="other")):
        late, change = move(stale)
        with pytest.raises(PlanConflictError):
            await store.append([change], late)
    assert await store.load() == plan
    assert await store.list_changes() == changes[::-1]


async def test_append_to_an_empty_store_needs_the_history_from_its_beginning(store: Store) -> None:
    plan, changes = make_history(2)
    with pytest.raises(PlanConflictError):
        await store.append(changes[1:], plan)
    assert await store.load() == Plan()
    assert await store.list_changes() == []


async def test_append_made_again_after_a_lost_answer_does_nothing(store: Store) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    await store.append(changes, plan)
    await store.append(changes[1:], plan)
    assert await store.list_changes() == changes[::-1]


async def test_append_of_two_writers_from_one_version_lets_exactly_one_win(connect: Callable[[], Store]) -> None:
    for _ in range(10):
        base = await connect().load()
        rivals = [move(base, reason=name) for name in ("one", "other")]
        stores = [connect(), connect()]
        outcomes = await asyncio.gather(
            *(store.append([change], plan) for store, (plan, change) in zip(stores, rivals, strict=True)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "PlanConflictError"]
        winner, change = rivals[outcomes.index(None)]
        assert await connect().load() == winner
        assert (await connect().list_changes(limit=1)) == [change]


async def test_append_of_many_writers_that_try_again_loses_nothing(connect: Callable[[], Store]) -> None:
    async def write(store: Store, times: int) -> None:
        while times:
            plan, change = move(await store.load())
            try:
                await store.append([change], plan)
            except PlanConflictError:
                continue
            times -= 1

    await asyncio.gather(*(write(connect(), 5) for _ in range(4)))
    changes = await connect().list_changes()
    assert [change.version for change in changes] == list(range(20, 0, -1))
    assert [change.parent for change in changes] == [change.revision for change in changes[1:]] + [""]
    assert (await connect().load()).revision == changes[0].revision


@pytest.mark.parametrize(
    ("page", "versions"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"limit": 3}, [7, 6, 5]),
        ({"limit": 0}, []),
        ({"before": 5, "limit": 2}, [4, 3]),
        ({"before": 1}, []),
        ({"before": 100, "limit": 1}, [7]),
        ({"after": 5}, [7, 6]),
        ({"after": 7}, []),
        ({"after": 2, "before": 6}, [5, 4, 3]),
        ({"after": 2, "before": 6, "limit": 2}, [5, 4]),
    ],
)
async def test_list_changes_pages_newest_first(store: Store, page: dict[str, int], versions: list[int]) -> None:
    plan, changes = make_history(7)
    await store.append(changes, plan)
    expected: list[Change] = [changes[version - 1] for version in versions]
    assert await store.list_changes(**page) == expected


async def test_wait_returns_soon_after_another_process_wrote(connect: Callable[[], Store]) -> None:
    store, writer = connect(), connect()
    plan = await store.load()
    await store.wait(0)
    for _ in range(3):
        waiting = asyncio.create_task(wait_for(store, lambda held, base=plan: held != base))
        plan, change = move(plan)
        await writer.append([change], plan)
        began = time.perf_counter()
        await asyncio.wait_for(waiting, 5)
        assert time.perf_counter() - began < 1


async def wait_for(store: Store, condition: Callable[[Plan], bool]) -> None:
    while not condition(await store.load()):
        await store.wait(10)


async def test_wait_finds_what_was_written_after_the_last_load(connect: Callable[[], Store]) -> None:
    store, writer = connect(), connect()
    await store.load()
    await store.wait(0.1)
    await store.load()
    plan, change = move(Plan())
    await writer.append([change], plan)
    began = time.perf_counter()
    await store.wait(10)
    assert time.perf_counter() - began < 1
    assert await store.load() == plan


async def test_wait_returns_at_its_time_out_when_nothing_happens(store: Store) -> None:
    await store.load()
    await store.wait(0.1)
    began = time.perf_counter()
    await store.wait(0.3)
    assert 0.29 < time.perf_counter() - began < 1


async def test_close_is_harmless_before_the_first_call_and_when_repeated(connect: Callable[[], Store]) -> None:
    unused, used = connect(), connect()
    await used.load()
    for store in (unused, used, unused, used):
        await store.close()
