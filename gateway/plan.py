"""The plan: how far each endpoint has moved. One immutable, versioned document, replaced whole."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, Self

from gateway.errors import MoveRefusedError

Owner = Literal["legacy", "async"]
"""A side, as a declaration names it."""


class Stage(StrEnum):
    """How far an endpoint has moved, from the Flask app (`legacy`) to the FastAPI app alone (`retired`)."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    CANARY = "canary"
    VERIFY = "verify"
    ASYNC = "async"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Placement:
    """One endpoint's stage; `percent` (0 < percent <= 100, share of callers) belongs to `canary` alone."""

    stage: Stage
    percent: float | None = None

    def __post_init__(self) -> None:
        if self.stage is not Stage.CANARY:
            if self.percent is not None:
                raise MoveRefusedError(
                    f"a percentage belongs to the stage 'canary', not to '{self.stage}': leave it out, or use canary"
                )
        elif self.percent is None:
            raise MoveRefusedError("the stage 'canary' needs a percentage of callers: more than 0, at most 100")
        elif not 0 < self.percent <= 100:
            raise MoveRefusedError(
                f"{self.percent:g} % is not a share of callers: canary takes more than 0 and at most 100"
                + ("; for nobody use the stage 'legacy'" if self.percent == 0 else "")
            )

    def __str__(self) -> str:
        return self.stage.value if self.percent is None else f"{self.stage} {self.percent:g} %"

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.stage.value} if self.percent is None else {"stage": "canary", "percent": self.percent}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(Stage(document["stage"]), document.get("percent"))


@dataclass(frozen=True, slots=True)
class Move:
    """One endpoint's step within a change; `before` is what was in force, whether or not the plan said so."""

    endpoint: str
    before: Placement
    after: Placement

    def to_json(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "before": self.before.to_json(), "after": self.after.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            document["endpoint"], Placement.from_json(document["before"]), Placement.from_json(document["after"])
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history: the moves that made plan `version` out of the plan with revision `parent`.

    `revision` is random, so that two histories which both have a version 7 can be told apart. `at` is UTC.
    """

    version: int
    revision: str
    parent: str
    at: datetime
    actor: str
    reason: str
    moves: tuple[Move, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "revision": self.revision,
            "parent": self.parent,
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "actor": self.actor,
            "reason": self.reason,
            "moves": [move.to_json() for move in self.moves],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            version=document["version"],
            revision=document["revision"],
            parent=document["parent"],
            at=datetime.fromisoformat(document["at"]),
            actor=document["actor"],
            reason=document["reason"],
            moves=tuple(Move.from_json(move) for move in document["moves"]),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Every endpoint that was ever moved, by its identity. Version 0 with the revision "" is the empty plan."""

    version: int = 0
    revision: str = ""
    placements: Mapping[str, Placement] = field(default_factory=lambda: MappingProxyType({}))

    def change(
        self, moves: tuple[Move, ...], *, actor: str, reason: str, at: datetime | None = None
    ) -> tuple["Plan", Change]:
        """The next plan with `moves` applied, and the history entry that explains it. Writes nothing."""
        change = Change(
            version=self.version + 1,
            revision=secrets.token_hex(8),
            parent=self.revision,
            at=at or datetime.now(UTC),
            actor=actor,
            reason=reason,
            moves=moves,
        )
        placements = {**self.placements, **{move.endpoint: move.after for move in moves}}
        return Plan(change.version, change.revision, MappingProxyType(placements)), change

    def dumps(self) -> str:
        return json.dumps(
            {
                "version": self.version,
                "revision": self.revision,
                "placements": {name: placement.to_json() for name, placement in self.placements.items()},
            }
        )

    @classmethod
    def loads(cls, text: str | bytes) -> Self:
        """Raises ValueError or KeyError when `text` is not a plan."""
        document = json.loads(text)
        return cls(
            version=document["version"],
            revision=document["revision"],
            placements=MappingProxyType(
                {name: Placement.from_json(placement) for name, placement in document["placements"].items()}
            ),
        )
