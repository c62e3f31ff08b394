from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask

from gateway.errors import MoveRefusedError
from gateway.moves import MovePlan, plan_moves
from gateway.plan import Move, Placement, Plan, Stage
from gateway.table import EndpointTable, build_table

LEGACY, ASYNC, CANARY = Placement(Stage.LEGACY), Placement(Stage.ASYNC), Placement(Stage.CANARY, 10)


@pytest.fixture(scope="module")
def table() -> EndpointTable:
    """`/a` and `/b` on both sides, `/old` and `/new` on one."""
    legacy, api = Flask("legacy", static_folder=None), FastAPI()
    for path in ("/a", "/b/<int:x>", "/old"):
        legacy.add_url_rule(path, path, lambda **_: "flask")
    api.get("/a")(lambda: "async")
    api.get("/b/{y}")(lambda y: "async")
    api.get("/new")(lambda: "async")
    return build_table(legacy, api)


def plan(**placements: Placement) -> Plan:
    names = {"a": "GET /a", "b": "GET /b/{x}", "old": "GET /old", "new": "GET /new"}
    return Plan(3, "r", {names[name]: placement for name, placement in placements.items()})


@pytest.mark.parametrize(
    ("before", "names", "placement", "expected"),
    [
        (plan(), ["GET /a"], ASYNC, MovePlan([Move("GET /a", LEGACY, ASYNC)])),
        (plan(a=ASYNC), ["GET /a"], LEGACY, MovePlan([Move("GET /a", ASYNC, LEGACY)])),
        (plan(a=CANARY), ["GET /a"], ASYNC, MovePlan([Move("GET /a", CANARY, ASYNC)])),
        (
            plan(a=CANARY),
            ["GET /a"],
            Placement(Stage.CANARY, 20),
            MovePlan([Move("GET /a", CANARY, Placement(Stage.CANARY, 20))]),
        ),
        (plan(a=CANARY), ["GET /a"], CANARY, MovePlan(unchanged=["GET /a"])),
        (plan(), ["GET /a"], LEGACY, MovePlan(unchanged=["GET /a"])),
        (plan(), ["GET /b/<int:n>"], ASYNC, MovePlan([Move("GET /b/{x}", LEGACY, ASYNC)])),
        (plan(), ["GET /a", "get /a", "* /a"], ASYNC, MovePlan([Move("GET /a", LEGACY, ASYNC)])),
        (plan(a=ASYNC), ["GET /a", "GET /a*"], ASYNC, MovePlan(unchanged=["GET /a"])),
        (plan(), ["GET /new"], ASYNC, MovePlan(unchanged=["GET /new"])),
    ],
)
def test_moves_lead_from_what_is_in_force(
    table: EndpointTable, before: Plan, names: list[str], placement: Placement, expected: MovePlan
) -> None:
    assert plan_moves(table, before, names, placement) == expected


def test_pattern_skips_what_cannot_go_there(table: EndpointTable) -> None:
    planned = plan_moves(table, plan(a=ASYNC), ["* /*"], ASYNC)
    assert planned == MovePlan(
        moves=[Move("GET /b/{x}", LEGACY, ASYNC)],
        unchanged=["GET /a", "GET /new"],
        skipped={"GET /old": "'GET /old' cannot be moved to 'async': the async app has no such endpoint"},
    )


def test_everything_is_put_back_at_once(table: EndpointTable) -> None:
    planned = plan_moves(table, plan(a=ASYNC, b=CANARY), ["* /*"], LEGACY)
    assert planned == MovePlan(
        moves=[Move("GET /a", ASYNC, LEGACY), Move("GET /b/{x}", CANARY, LEGACY)],
        unchanged=["GET /old"],
        skipped={"GET /new": "'GET /new' cannot be moved to 'legacy': the legacy app has no such endpoint"},
    )


def test_entry_that_does_not_count_any_more_is_cleared(table: EndpointTable) -> None:
    """The async app lost `/old`'s successor; should it come back, it must not answer at once."""
    assert plan_moves(table, plan(old=ASYNC), ["GET /old"], LEGACY).moves == [Move("GET /old", LEGACY, LEGACY)]


@pytest.mark.parametrize(
    ("names", "placement", "message"),
    [
        (["GET /none"], ASYNC, "there is no endpoint 'GET /none'; the nearest is 'GET /new'"),
        (
            ["GET /a", "POST /zzzzzzzzz"],
            ASYNC,
            "there is no endpoint 'POST /zzzzzzzzz'; 'gateway endpoints' lists them",
        ),
        (["GET /old"], ASYNC, "'GET /old' cannot be moved to 'async': the async app has no such endpoint"),
        (["GET /old"], CANARY, "'GET /old' cannot be moved to 'canary': the async app has no such endpoint"),
        (["GET /new"], LEGACY, "'GET /new' cannot be moved to 'legacy': the legacy app has no such endpoint"),
        (["GET /new"], CANARY, "'GET /new' cannot be moved to 'canary': the legacy app has no such endpoint"),
        (["* /old*"], ASYNC, "'GET /old' cannot be moved to 'async': the async app has no such endpoint"),
        (
            ["GET /a"],
            Placement(Stage.SHADOW),
            "the stage 'shadow' is not available in this version; there are legacy, canary, async",
        ),
    ],
)
def test_move_that_is_not_possible_is_refused(
    table: EndpointTable, names: list[str], placement: Placement, message: str
) -> None:
    with pytest.raises(MoveRefusedError) as refusal:
        plan_moves(table, plan(), names, placement)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("stage", "percent", "message"),
    [
        (Stage.ASYNC, 50, "a percentage belongs to the stage 'canary', not to 'async': leave it out, or use canary"),
        (Stage.CANARY, None, "the stage 'canary' needs a percentage of callers: more than 0, at most 100"),
        (
            Stage.CANARY,
            0,
            "0 % is not a share of callers: canary takes more than 0 and at most 100; "
            "for nobody use the stage 'legacy'",
        ),
        (Stage.CANARY, 100.5, "100.5 % is not a share of callers: canary takes more than 0 and at most 100"),
        (Stage.CANARY, -1, "-1 % is not a share of callers: canary takes more than 0 and at most 100"),
        (Stage.CANARY, float("nan"), "nan % is not a share of callers: canary takes more than 0 and at most 100"),
    ],
)
def test_placement_that_makes_no_sense_is_refused(stage: Stage, percent: Any, message: str) -> None:
    with pytest.raises(MoveRefusedError) as refusal:
        Placement(stage, percent)
    assert str(refusal.value) == message
