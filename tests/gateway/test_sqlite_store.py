import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailableError
from gateway.plan import Plan
from gateway.sqlite_store import SqliteStore
from tests.gateway.plans import make_history, move

OPENING_PROCESSES = 6
WRITES_EACH = 10

WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.errors import PlanConflictError
from gateway.sqlite_store import SqliteStore
from tests.gateway.plans import move

async def main(path, times):
    store = SqliteStore(path)
    while times:
        plan, change = move(await store.load())
        try:
            await store.append([change], plan)
            times -= 1
        except PlanConflictError:
            pass
    await store.close()

sys.stdin.readline()
asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "plan.db"


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Path], SqliteStore]]:
    stores: list[SqliteStore] = []

    def open_one_more(path: Path) -> SqliteStore:
        stores.append(SqliteStore(path))
        return stores[-1]

    yield open_one_more
    for store in stores:
        await store.close()


@pytest.fixture
def store(connect: Callable[[Path], SqliteStore], path: Path) -> SqliteStore:
    return connect(path)


def test_constructor_touches_nothing(store: SqliteStore, path: Path) -> None:
    assert str(path) in store.description
    assert not path.parent.exists()


async def test_file_and_directory_are_for_their_owner_only(store: SqliteStore, path: Path) -> None:
    before = os.umask(0)
    try:
        plan, changes = make_history(1)
        await store.append(changes, plan)
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in [path.parent, *path.parent.iterdir()]}
    assert modes == {"state": "0o700", "plan.db": "0o600", "plan.db-shm": "0o600", "plan.db-wal": "0o600"}


def test_append_by_many_processes_at_once_loses_nothing(path: Path) -> None:
    """They also create the file and its tables at the same time."""
    command = [sys.executable, "-c", WRITER, str(path), str(WRITES_EACH)]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(OPENING_PROCESSES)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    assert [writer.wait(timeout=30) for writer in writers] == [0] * OPENING_PROCESSES

    versions = OPENING_PROCESSES * WRITES_EACH
    with sqlite3.connect(path) as connection:
        changes = [json.loads(row[0]) for row in connection.execute("SELECT document FROM change ORDER BY version")]
    connection.close()
    assert [change["version"] for change in changes] == list(range(1, versions + 1))
    assert [change["parent"] for change in changes] == ["", *(change["revision"] for change in changes[:-1])]


async def test_file_that_many_create_at_once_serves_all(connect: Callable[[Path], SqliteStore], tmp_path: Path) -> None:
    for number in range(20):
        stores = [connect(tmp_path / str(number) / "plan.db") for _ in range(6)]
        assert await asyncio.gather(*(store.load() for store in stores)) == [Plan()] * 6


async def test_append_that_fails_half_way_writes_nothing(store: SqliteStore) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    late, more = make_history(2, plan)
    with pytest.raises(StoreUnavailableError):
        await store.append([*more, more[0]], late)
    assert await store.load() == plan
    assert await store.list_changes() == changes[::-1]


async def test_history_cannot_be_rewritten(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    connection = sqlite3.connect(path)
    for statement in ("UPDATE change SET document = '{}'", "DELETE FROM change WHERE version = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
    assert await store.list_changes() == changes[::-1]


async def test_replace_holds_another_history(store: SqliteStore) -> None:
    plan, changes = make_history(3)
    await store.append(changes, plan)
    other, others = make_history(2)
    await store.replace(others, other, expected=plan.revision)
    assert await store.load() == other
    assert await store.list_changes() == others[::-1]
    after, change = move(other)
    await store.append([change], after)
    assert await store.list_changes(limit=1) == [change]


async def test_locked_file_is_unavailable_within_a_second_and_comes_back(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(1)
    await store.load()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    began = time.perf_counter()
    with pytest.raises(StoreUnavailableError, match="locked"):
        await store.append(changes, plan)
    assert time.perf_counter() - began < 1.5
    assert await store.load() == Plan()
    blocker.execute("ROLLBACK")
    blocker.close()
    await store.append(changes, plan)
    assert await store.load() == plan


async def test_append_is_not_held_up_by_a_reader(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(1)
    await store.append(changes, plan)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM plan").fetchall()
    after, change = move(plan)
    await store.append([change], after)
    reader.close()
    assert await store.load() == after


@pytest.mark.parametrize("content", [b"not a database at all, but a long enough text\n" * 100, b"\xff" * 5000])
async def test_corrupt_file_is_unavailable_until_it_is_moved_away(
    store: SqliteStore, path: Path, content: bytes
) -> None:
    put_file(path, content)
    with pytest.raises(StoreUnavailableError, match="move it away"):
        await store.load()
    with pytest.raises(StoreUnavailableError, match="move it away"):
        await store.wait(0)
    shutil.move(path, path.with_suffix(".broken"))
    assert await store.load() == Plan()
    assert read_file(path.with_suffix(".broken")) == content


def put_file(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def read_file(path: Path) -> bytes:
    return path.read_bytes()


async def test_file_that_is_emptied_while_open_is_an_empty_store(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(1)
    await store.append(changes, plan)
    os.truncate(path, 0)
    assert await store.load() == Plan()
    await store.append(changes, plan)
    assert await store.list_changes() == changes


async def test_stored_plan_of_a_newer_gateway_is_unavailable(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(1)
    await store.append(changes, plan)
    unknown = plan.dumps().replace('"stage": "async"', '"stage": "mirrored"')
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE plan SET document = ?", (unknown,))
    connection.close()
    with pytest.raises(StoreUnavailableError, match="mirrored"):
        await store.load()


@pytest.mark.parametrize("below_a_file", ["plan.db", "state/plan.db"])
async def test_path_that_cannot_be_made_is_unavailable(
    connect: Callable[[Path], SqliteStore], tmp_path: Path, below_a_file: str
) -> None:
    (tmp_path / "file").write_text("no directory")
    store = connect(tmp_path / "file" / below_a_file)
    with pytest.raises(StoreUnavailableError):
        await store.load()
    with pytest.raises(StoreUnavailableError):
        await store.wait(5)


@pytest.mark.parametrize("left", [[], ["plan.db-wal", "plan.db-shm"]])
async def test_deleted_file_is_noticed_and_made_anew(
    connect: Callable[[Path], SqliteStore], path: Path, left: list[str]
) -> None:
    store, other = connect(path), connect(path)
    plan, changes = make_history(3)
    await store.append(changes, plan)
    await store.load()
    assert await other.load() == plan
    waiting = asyncio.create_task(store.wait(10))
    for file in path.parent.iterdir():
        if file.name not in left:
            file.unlink()
    began = time.perf_counter()
    await waiting
    assert time.perf_counter() - began < 1
    assert await store.load() == Plan()
    assert await other.load() == Plan()
    await other.append(changes, plan)
    assert await store.load() == plan


async def test_replaced_file_is_noticed_and_read(connect: Callable[[Path], SqliteStore], path: Path) -> None:
    """As when an operator restores yesterday's file."""
    store, other = connect(path), connect(path)
    plan, changes = make_history(3)
    await store.append(changes, plan)
    shutil.copy(path, path.with_name("yesterday.db"))
    late, more = make_history(50, plan)
    await store.append(more, late)
    assert await other.load() == late
    path.with_name("yesterday.db").replace(path)
    assert await other.load() == plan
    assert await store.load() == plan
    assert await store.list_changes() == changes[::-1]


async def test_vanished_directory_is_unavailable_until_it_is_back(store: SqliteStore, path: Path) -> None:
    plan, changes = make_history(2)
    await store.append(changes, plan)
    away = path.parent.rename(path.parent.with_name("away"))
    for call in (store.load(), store.wait(5), store.list_changes()):
        with pytest.raises(StoreUnavailableError):
            await call
    away.rename(path.parent)
    assert await store.load() == plan


async def test_event_loop_keeps_running_while_the_file_is_locked(store: SqliteStore, path: Path) -> None:
    await store.load()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    plan, changes = make_history(1)
    append = asyncio.create_task(store.append(changes, plan))
    longest_s = 0.0
    while not append.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.perf_counter() - began)
    blocker.close()
    assert isinstance(append.exception(), StoreUnavailableError)
    assert longest_s < 0.3
