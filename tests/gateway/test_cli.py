"""The `gateway` command as its user meets it: output, exit codes, and what to do next."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask

from gateway.app import Gateway
from tests.gateway.apps import TOKEN, make_settings, serving
from tests.servers import find_free_port


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Cli:
    def __init__(self, url: str, token: str | None = TOKEN) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        self._env = {**clean, "GATEWAY_URL": url, "GATEWAY_ACTOR": "anna"}
        if token is not None:
            self._env["GATEWAY_ADMIN_TOKEN"] = token

    def __call__(self, *arguments: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments], env=self._env, capture_output=True, text=True, timeout=30
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


def make_legacy() -> Flask:
    app = Flask("legacy", static_folder=None)
    app.add_url_rule("/items/<int:item_id>", "item", lambda item_id: f"flask {item_id}")
    app.add_url_rule("/items", "items", lambda: "flask")
    app.add_url_rule("/old", "old", lambda: "old")
    return app


def make_target() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{number}")
    async def item(number: int) -> str:
        return f"async {number}"

    @app.get("/items")
    async def items() -> str:
        return "async"

    @app.get("/new")
    async def new() -> str:
        return "new"

    return app


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    gateway = Gateway(make_settings(tmp_path), legacy=make_legacy(), target=make_target())
    with serving(gateway) as address:
        yield f"http://{address}"


@pytest.fixture
def cli(url: str) -> Cli:
    return Cli(url)


def test_endpoints_shows_sides_stages_and_traffic(cli: Cli, url: str) -> None:
    httpx.get(f"{url}/items/1")

    outcome = cli("endpoints")

    assert outcome.code == 0
    rows = {line.split("  ")[0]: line for line in outcome.out.splitlines()}
    assert "legacy+async" in rows["GET /items/{item_id}"]
    assert "1 in " in rows["GET /items/{item_id}"]
    assert "async" in rows["GET /new"]
    assert "legacy+async" not in rows["GET /old"]


def test_endpoints_takes_patterns(cli: Cli) -> None:
    document = json.loads(cli("endpoints", "* /items*", "--json").out)

    assert [endpoint["id"] for endpoint in document["endpoints"]] == ["GET /items/{item_id}", "GET /items"]


def test_stage_moves_an_endpoint_whatever_its_parameters_are_called(cli: Cli, url: str) -> None:
    outcome = cli("stage", "get /items/{anything}", "async", "--reason", "proven")

    assert outcome == Outcome(0, "GET /items/{item_id}: legacy -> async\n1 moved; plan version 1.\n", "")
    assert httpx.get(f"{url}/items/7").json() == "async 7"


def test_stage_takes_a_percentage_for_canary(cli: Cli) -> None:
    outcome = cli("stage", "GET /items", "canary", "--percent", "12.5")

    assert outcome.out == "GET /items: legacy -> canary 12.5 %\n1 moved; plan version 1.\n"


def test_stage_moves_all_of_a_pattern_and_says_what_it_left(cli: Cli) -> None:
    outcome = cli("stage", "* /*", "async")

    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "GET /items/{item_id}: legacy -> async",
        "GET /items: legacy -> async",
        "GET /old: left where it is: 'GET /old' cannot be moved to 'async': the async app has no such endpoint",
        "already there: 1",
        "2 moved; plan version 1.",
    ]


def test_dry_run_moves_nothing(cli: Cli, url: str) -> None:
    outcome = cli("stage", "* /items*", "async", "--dry-run")

    assert outcome.code == 0
    assert "Dry run: nothing was moved; 2 would." in outcome.out
    assert httpx.get(f"{url}/items").text == "flask"
    assert cli("history").out == "nothing was moved yet\n"


def test_history_says_who_what_when_and_why(cli: Cli) -> None:
    cli("stage", "GET /items", "canary", "--percent", "5", "--reason", "first look")
    cli("stage", "GET /items", "legacy", "--reason", "too slow", "--actor", "bob")

    lines = cli("history").out.splitlines()

    assert [line.strip() for line in lines[1::2]] == [
        "GET /items: canary 5 % -> legacy",
        "GET /items: legacy -> canary 5 %",
    ]
    assert lines[0].startswith("   2  ")
    assert lines[0].endswith(" UTC  bob  too slow")
    assert lines[2].endswith(" UTC  anna  first look")


@pytest.mark.parametrize("command", [["endpoints"], ["history"], ["stage", "GET /items", "async"]])
def test_json_is_the_apis_answer(cli: Cli, command: list[str]) -> None:
    outcome = cli(*command, "--json")

    assert outcome.code == 0
    assert isinstance(json.loads(outcome.out), dict)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage", "GET /item", "async"], "there is no endpoint 'GET /item'; the nearest is 'GET /items'"),
        (["stage", "items", "async"], "write it as METHOD /path"),
        (["stage", "GET /items", "canary", "--percent", "140"], "140 % is not a share of callers"),
        (["stage", "GET /items", "canary"], "'canary' needs a percentage"),
        (["stage", "GET /items", "async", "--percent", "5"], "a percentage belongs to the stage 'canary'"),
        (["stage", "GET /items", "asink"], "'legacy', 'shadow', 'canary', 'verify', 'async' or 'retired'"),
        (["stage", "GET /items", "shadow"], "the stage 'shadow' is not available in this version"),
        (["stage", "GET /old", "async"], "the async app has no such endpoint"),
        (["stage", "GET /new", "legacy"], "the legacy app has no such endpoint"),
        (["stage", "GET /items", "async", "--base-version", "3"], "the plan is at version 0 now, not 3"),
    ],
)
def test_refusal_says_why_and_exits_with_1(cli: Cli, arguments: list[str], message: str) -> None:
    outcome = cli(*arguments)

    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("arguments", [["stage"], ["stage", "GET /items"], ["serve", "--port", "x"], ["nothing"]])
def test_misuse_exits_with_2(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


def test_wrong_token_says_where_to_find_the_right_one(url: str) -> None:
    outcome = Cli(url, "not the token")("endpoints")

    assert outcome.code == 1
    assert "set GATEWAY_ADMIN_TOKEN to what the server printed at start" in outcome.err
    assert "not the token" not in outcome.err


def test_missing_server_says_how_to_start_one() -> None:
    outcome = Cli(f"http://127.0.0.1:{find_free_port()}")("endpoints")

    assert outcome.code == 1
    assert "start one with 'gateway serve'" in outcome.err


def test_server_that_is_no_gateway_is_told_apart(tmp_path: Path) -> None:
    with serving(make_target()) as address:
        outcome = Cli(f"http://{address}")("endpoints")

    assert outcome.code == 1
    assert "Not Found" in outcome.err


def test_control_prefix_is_found_by_its_option(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, control_prefix="/ops/gateway")
    with serving(Gateway(settings, legacy=make_legacy(), target=make_target())) as address:
        outcome = Cli(f"http://{address}")("endpoints", "--prefix", "/ops/gateway")

    assert outcome.code == 0
    assert "GET /items" in outcome.out


def test_version_is_printed(cli: Cli) -> None:
    assert cli("--version") == Outcome(0, "gateway 0.1.0\n", "")
