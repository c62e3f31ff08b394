"""The plan in a SQLite file: survives restarts, shared by the workers of one machine."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.errors import PlanConflictError, StoreUnavailableError
from gateway.plan import Change, Plan
from gateway.store import CALL_TIMEOUT_S, decode_changes, decode_plan, encode_change

T = TypeVar("T")

BUSY_TIMEOUT_S = CALL_TIMEOUT_S / 2
LOOK_S = 0.02
"""How often `wait` looks: it is what a change needs to reach another process. A look costs some microseconds."""
WATCH_S = CALL_TIMEOUT_S / 4
"""How long `wait` keeps the thread at most; any other call ends that at once."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS plan (id INTEGER PRIMARY KEY CHECK (id = 1), document TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS change (version INTEGER PRIMARY KEY, document TEXT NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS change_is_never_updated BEFORE UPDATE ON change
       BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS change_is_never_deleted BEFORE DELETE ON change
       BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
)


class SqliteStore:
    """A `Store` in one file, readable by its owner only; the file and its directory are made when needed.

    A file that someone deletes or replaces is opened anew. SQLite runs on one thread of its own, off the event loop.
    """

    def __init__(self, path: Path) -> None:
        self.description = f"SQLite file {path}"
        self._path = path.absolute()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plan-file")
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int, bool] | None = None
        self._seen: int | None = None
        self._is_closed = False
        self._calls = 0
        self._called = threading.Event()

    async def load(self) -> Plan:
        def read(connection: sqlite3.Connection) -> Plan:
            # Before the plan: what is written in between is then seen as a change by `wait`
            self._seen = data_version(connection)
            return read_plan(connection)

        return await self._call(read)

    async def append(self, changes: Sequence[Change], plan: Plan) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                held = read_plan(connection).revision
                if held == plan.revision:
                    return
                if held != changes[0].parent:
                    raise PlanConflictError("the plan has been changed by someone else: look at it and try again")
                write_plan(connection, changes, plan)
            empty_wal(connection)

        await self._call(write)

    async def replace(self, changes: Sequence[Change], plan: Plan, *, expected: str) -> None:
        """Forget plan and history, and hold these instead: for a copy of another store, never for the store itself.

        Raises `PlanConflictError` unless the plan in force has the revision `expected`.
        """

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if read_plan(connection).revision != expected:
                    raise PlanConflictError("the copy has been written by another worker")
                connection.execute("DROP TABLE change")
                for statement in SCHEMA:
                    connection.execute(statement)
                write_plan(connection, changes, plan)
            empty_wal(connection)

        await self._call(write)

    async def list_changes(
        self, *, after: int = 0, before: int | None = None, limit: int | None = None
    ) -> list[Change]:
        def read(connection: sqlite3.Connection) -> list[Change]:
            rows = connection.execute(
                "SELECT document FROM change WHERE version > ? AND (? IS NULL OR version < ?) "
                "ORDER BY version DESC LIMIT ?",
                (after, before, before, -1 if limit is None else limit),
            )
            return decode_changes(document for (document,) in rows)

        return await self._call(read)

    async def wait(self, timeout_s: float) -> None:
        # The thread looks, not the loop: under load each turn of the loop takes longer than a look.
        deadline = time.monotonic() + timeout_s
        while not await self._call(lambda connection: self._watch(connection, deadline), waits=True):
            if time.monotonic() >= deadline:
                return

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[sqlite3.Connection], T], *, waits: bool = False) -> T:
        """The only way to the file, and the only place that knows SQLite's and the file system's errors."""
        loop = asyncio.get_running_loop()
        if not waits:
            self._calls += 1
            self._called.set()
        try:
            # A file system that hangs keeps the thread, but not the caller
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await loop.run_in_executor(self._thread, self._work, work)
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"{self.description} cannot be used: {error}") from error
        except sqlite3.Error as error:
            raise StoreUnavailableError(
                f"{self.description} is damaged, or is not a plan ({error}): move it away; "
                "a running gateway then writes its plan and history into a new one"
            ) from error
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.description} cannot be used: {str(error) or 'no answer in time'}"
            ) from error
        finally:
            if not waits:
                self._calls -= 1

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connect())
        except (sqlite3.Error, OSError):
            self._disconnect()
            raise

    def _connect(self) -> sqlite3.Connection:
        file = find_file(self._path)
        if self._connection and file == self._file:
            return self._connection
        self._disconnect()
        if self._file is None:
            # Later no more: a directory that vanishes may be a volume that went away and comes back with the plan
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file is None:
            create_file(self._path)
        self._connection = open_file(self._path)
        self._file = find_file(self._path)
        return self._connection

    def _disconnect(self) -> None:
        self._seen = None
        if self._connection:
            self._connection.close()
            self._connection = None

    def _watch(self, connection: sqlite3.Connection, deadline: float) -> bool:
        """Whether another connection wrote; returns as soon as one did, or as another call wants the thread."""
        deadline = min(deadline, time.monotonic() + WATCH_S)
        while not self._has_changed(connection):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._calls or find_file(self._path) != self._file:
                return False
            self._called.clear()
            self._called.wait(min(left_s, LOOK_S))
        return True

    def _has_changed(self, connection: sqlite3.Connection) -> bool:
        before, self._seen = self._seen, data_version(connection)
        return before != self._seen


def find_file(path: Path) -> tuple[int, int, bool] | None:
    """What tells a file from one that was put in its place, or from itself emptied."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size > 0


def create_file(path: Path) -> None:
    # Exclusively, so that no file is opened that may be in use: closing it would drop this process's locks on it
    # (https://www.sqlite.org/howtocorrupt.html, 2.2)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def open_file(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        switch_to_wal(connection)
        for statement in SCHEMA:
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def switch_to_wal(connection: sqlite3.Connection) -> None:
    """Tries again by itself: between processes that make a file at the same time, SQLite fails at once here."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def data_version(connection: sqlite3.Connection) -> int:
    """Differs from the last one when another connection has written."""
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def read_plan(connection: sqlite3.Connection) -> Plan:
    row = connection.execute("SELECT document FROM plan").fetchone()
    return decode_plan(row and row[0])


def write_plan(connection: sqlite3.Connection, changes: Sequence[Change], plan: Plan) -> None:
    connection.executemany(
        "INSERT INTO change (version, document) VALUES (?, ?)",
        [(change.version, encode_change(change)) for change in changes],
    )
    connection.execute("INSERT OR REPLACE INTO plan (id, document) VALUES (1, ?)", (plan.dumps(),))


def empty_wal(connection: sqlite3.Connection) -> None:
    """Move all that was written into the file itself, so that it can be copied, replaced or deleted on its own.

    A log left beside a file that was restored from a backup would be played back into it.
    """
    connection.execute("PRAGMA busy_timeout = 50")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
