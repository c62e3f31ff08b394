"""Follows the plan in the store, for one worker: through outages and restarts, and when the store loses it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gateway.errors import PlanConflictError, StoreUnavailableError
from gateway.plan import Change, Plan
from gateway.sqlite_store import SqliteStore
from gateway.store import Store

logger = logging.getLogger("gateway.plan")

RETRY_S = 0.25
COPY_CHECK_S = 5.0
"""How often the copy is looked at when nothing changes: it may have failed, or be deleted."""
REMEMBERED = 1000
"""The newest changes, kept in memory for the day when both store and copy have lost them."""


class PlanFollower:
    """Keeps `plan` what the store says, within `poll` of a change that the store does not announce by itself.

    `plan` is an immutable snapshot in a plain attribute: a request reads it without a lock. While the store is away,
    `degraded` says why and the last plan stays in force; `copy` keeps it, with its history, for the next start. A store
    that comes back empty or with an older plan gets ours back. Store and copy are the caller's to close, after `stop`.
    """

    def __init__(self, store: Store, copy: SqliteStore, poll: timedelta = timedelta(milliseconds=250)) -> None:
        self.plan = Plan()
        self.followed_at = datetime.now(UTC)
        self.degraded: str | None = None
        self.degraded_since: datetime | None = None
        self._store = store
        self._copy = copy
        self._poll = poll
        self._callbacks: list[Callable[[Plan], None]] = []
        self._changes: dict[str, Change] = {}
        self._lock = asyncio.Lock()
        self._copy_is_due = asyncio.Event()
        self._copy_fails = False
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take the copy's plan, then the store's; an unavailable store is no reason to fail."""
        await self._restore()
        try:
            await self._look()
        except StoreUnavailableError as error:
            self._degrade(str(error))
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_copy())]

    async def stop(self) -> None:
        # Before Python 3.12, redis-py's use of `wait_for` may swallow the cancellation
        # (https://github.com/python/cpython/issues/81839)
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._update_copy()

    def subscribe(self, callback: Callable[[Plan], None]) -> None:
        """Have `callback` called on the event loop with each plan that comes into force from now on."""
        self._callbacks.append(callback)

    async def append(self, plan: Plan, change: Change) -> None:
        """Put `plan` in force in the store, and here before this returns. Raises what `Store.append` raises."""
        # The lock keeps a look that began earlier from taking the store's answer of then for a loss
        async with self._lock:
            try:
                await self._store.append([change], plan)
            except PlanConflictError:
                # Whoever tries again does so on `self.plan`
                with suppress(StoreUnavailableError):
                    await self._reconcile(await self._store.load())
                raise
            self._remember([change])
            self._hold(plan)

    async def _follow(self) -> None:
        while not self._is_stopping:
            try:
                await self._store.wait(self._poll.total_seconds())
                await self._look()
                self._recover()
            except StoreUnavailableError as error:
                self._degrade(str(error))
                await asyncio.sleep(RETRY_S)
            except Exception as error:
                # The outermost layer: a worker whose task has died would serve an old plan for ever, unnoticed
                logger.exception("following the plan failed")
                self._degrade(repr(error))
                await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        async with self._lock:
            await self._reconcile(await self._store.load())

    async def _reconcile(self, stored: Plan) -> None:
        if stored.revision == self.plan.revision:
            return
        if stored.version < self.plan.version and (missing := await self._find_missing(stored)):
            await self._put_back(missing, stored)
        else:
            await self._adopt(stored)

    async def _find_missing(self, stored: Plan) -> list[Change]:
        """The changes that lead from `stored` to our plan; none when it does not descend from `stored`."""
        known = self._changes
        path, is_complete = trace(known, self.plan, stored.revision)
        if not is_complete:
            with suppress(StoreUnavailableError):
                known = index(await self._copy.list_changes()) | known
            path, is_complete = trace(known, self.plan, stored.revision)
        if is_complete:
            return path
        return [bridge(path, self.plan), *path] if stored.version == 0 else []

    async def _put_back(self, missing: list[Change], stored: Plan) -> None:
        try:
            await self._store.append(missing, self.plan)
        except PlanConflictError:
            return  # another worker was faster: the next look finds what it wrote
        self._remember(missing)
        logger.warning(
            "the store came back with version %d of the plan: put back version %d and %d changes",
            stored.version,
            self.plan.version,
            len(missing),
        )

    async def _adopt(self, stored: Plan) -> None:
        held = self.plan
        try:
            changes = await self._list_new_changes(held, stored)
            is_explained = stored.revision in index(changes)
            if not is_explained and (await self._store.load()).revision != stored.revision:
                return  # the store was lost in between: the next look deals with that
        except StoreUnavailableError:
            # A history that cannot be read is no reason to serve an old plan
            self._hold(stored)
            raise
        self._hold(stored)
        self._warn_of_dropped(held, stored, changes)
        self._remember(changes)

    async def _list_new_changes(self, held: Plan, stored: Plan) -> list[Change]:
        """The history since `held`; the whole of it where it does not lead on from there."""
        changes = await self._store.list_changes(after=held.version, before=stored.version + 1)
        if changes and changes[-1].parent == held.revision:
            return changes
        return await self._store.list_changes(before=stored.version + 1)

    def _warn_of_dropped(self, held: Plan, stored: Plan, changes: list[Change]) -> None:
        if held.version == 0 or (changes and changes[-1].parent == held.revision):
            return
        history = index(changes)
        if stored.revision not in history:
            logger.warning("the store holds version %d of the plan without the history that led to it", stored.version)
            return
        path, _ = trace(self._changes, held)
        dropped = [change.version for change in path if change.revision not in history] or [held.version]
        logger.warning(
            "the store holds another history, with version %d in force: dropped versions %d to %d of ours",
            stored.version,
            dropped[0],
            dropped[-1],
        )

    def _hold(self, plan: Plan) -> None:
        self.plan = plan
        self.followed_at = datetime.now(UTC)
        self._copy_is_due.set()
        for callback in self._callbacks:
            try:
                callback(plan)
            except Exception:
                logger.exception("a callback failed on version %d of the plan", plan.version)

    def _remember(self, changes: Iterable[Change]) -> None:
        known = sorted((self._changes | index(changes)).values(), key=lambda change: change.version)
        self._changes = index(known[-REMEMBERED:])

    def _degrade(self, reason: str) -> None:
        if self.degraded is None:
            self.degraded_since = datetime.now(UTC)
            logger.warning("version %d of the plan stays in force: %s", self.plan.version, reason)
        self.degraded = reason

    def _recover(self) -> None:
        if self.degraded is not None:
            self.degraded = self.degraded_since = None
            logger.info("the store is back, with version %d of the plan", self.plan.version)

    async def _restore(self) -> None:
        try:
            plan = await self._copy.load()
            self._remember(await self._copy.list_changes(limit=REMEMBERED))
        except StoreUnavailableError as error:
            self._warn_of_copy(error)
        else:
            if plan.version:
                self._hold(plan)

    async def _keep_copy(self) -> None:
        while not self._is_stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(COPY_CHECK_S):
                    await self._copy_is_due.wait()
            self._copy_is_due.clear()
            await self._update_copy()

    async def _update_copy(self) -> None:
        try:
            await self._write_copy(self.plan)
            self._copy_fails = False
        except PlanConflictError:
            self._copy_is_due.set()  # another worker was faster: look at what it wrote
        except StoreUnavailableError as error:
            self._warn_of_copy(error)
        except Exception:
            # The outermost layer of this task, too: the next change is copied again
            logger.exception("copying the plan failed")

    async def _write_copy(self, plan: Plan) -> None:
        kept = await self._copy.load()
        if kept.revision == plan.revision or await self._is_ahead(kept, plan):
            return
        known = self._changes
        path, is_complete = trace(known, plan, kept.revision)
        if not is_complete:
            known = known | index(await self._store.list_changes(before=plan.version + 1))
            path, is_complete = trace(known, plan, kept.revision)
        if is_complete:
            await self._copy.append(path, plan)
        else:
            await self._copy.replace(trace(known, plan)[0], plan, expected=kept.revision)

    async def _is_ahead(self, kept: Plan, plan: Plan) -> bool:
        """Whether another worker of this machine has copied a descendant of `plan` already."""
        if kept.version <= plan.version:
            return False
        same_version = await self._copy.list_changes(after=plan.version - 1, before=plan.version + 1)
        return plan.revision in index(same_version)

    def _warn_of_copy(self, error: StoreUnavailableError) -> None:
        if not self._copy_fails:
            logger.warning("the plan is not copied, and would not survive a restart without its store: %s", error)
        self._copy_fails = True


def index(changes: Iterable[Change]) -> dict[str, Change]:
    return {change.revision: change for change in changes}


def trace(known: Mapping[str, Change], plan: Plan, since: str = "") -> tuple[list[Change], bool]:
    """The known changes that lead to `plan`, oldest first, and whether they reach back to the revision `since`."""
    path: list[Change] = []
    revision = plan.revision
    while revision != since and revision in known:
        path.append(known[revision])
        revision = known[revision].parent
    return path[::-1], revision == since


def bridge(path: list[Change], plan: Plan) -> Change:
    """Stands for the changes before `path` that nobody has any more, so that an empty store can take the others."""
    version, revision = (path[0].version - 1, path[0].parent) if path else (plan.version, plan.revision)
    return Change(
        version=version,
        revision=revision,
        parent="",
        at=datetime.now(UTC),
        actor="gateway",
        reason="the history up to this version was lost with the store",
        moves=(),
    )
