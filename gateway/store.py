"""What every plan store promises. `sqlite_store` and `redis_store` keep these promises."""

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.errors import GatewayError, StoreUnavailableError
from gateway.plan import Change, Plan

CALL_TIMEOUT_S = 1.0
"""A store that has not answered by then counts as unavailable."""


class Store(Protocol):
    """Keeps the plan and its append-only history.

    Every method may raise `StoreUnavailableError`, within about a second: a dead store never hangs a caller. All are
    safe to call again after that. Any number of processes may use one store at the same time.
    """

    description: str
    """Where the plan is, for people; without credentials."""

    async def load(self) -> Plan:
        """The plan in force; `Plan()` in a store that holds none."""
        ...

    async def append(self, changes: Sequence[Change], plan: Plan) -> None:
        """Put `plan` in force and add `changes` (oldest first, no gaps, the last one making `plan`), all or nothing.

        Raises `PlanConflictError` unless the plan in force has the revision `changes[0].parent`. Does nothing when
        `plan` is in force already: a call whose answer was lost can be made again.
        """
        ...

    async def list_changes(
        self, *, after: int = 0, before: int | None = None, limit: int | None = None
    ) -> list[Change]:
        """Changes with `after < version < before`, newest first, the `limit` newest of them."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when the plan may have changed since the last `load`, at the latest after `timeout_s`.

        For one caller at a time.
        """
        ...

    async def close(self) -> None:
        """Never raises; harmless when repeated."""
        ...


# Placement raises a GatewayError of its own for a percentage that no plan can hold
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, GatewayError)


def decode_plan(document: str | bytes | None) -> Plan:
    """What a store holds as its plan. Raises `StoreUnavailableError` for anything that is not one."""
    try:
        return Plan() if document is None else Plan.loads(document)
    except _NOT_OURS as error:
        raise StoreUnavailableError(
            f"what is stored is no plan that this version can read ({error!r}): was it written by a newer gateway?"
        ) from error


def decode_changes(documents: Iterable[str | bytes]) -> list[Change]:
    """Entries of a store's history. Raises `StoreUnavailableError` for anything that is not one."""
    try:
        return [Change.from_json(json.loads(document)) for document in documents]
    except _NOT_OURS as error:
        raise StoreUnavailableError(
            f"the stored history has an entry that this version cannot read ({error!r}): "
            "was it written by a newer gateway?"
        ) from error


def encode_change(change: Change) -> str:
    return json.dumps(change.to_json())
