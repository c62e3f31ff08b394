import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from gateway.canary import CallerKey
from gateway.errors import SettingsError
from gateway.settings import Settings, load_settings, unknown_variables

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
RANDOM = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the server; nothing of the developer's own reaches the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GATEWAY_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Give = Callable[[str, Any], dict[str, Any]]


@pytest.fixture
def give(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Give a store's URL in one of the places; the flags to load the settings with."""

    def give(place: str, store: str) -> dict[str, Any]:
        if place == "flag":
            return {"store": store}
        if place == "variable":
            monkeypatch.setenv("GATEWAY_STORE", store)
        elif place == "gateway.toml":
            (directory / "gateway.toml").write_text(f'store = "{store}"\n')
        else:
            (directory / "pyproject.toml").write_text(f'[tool.gateway]\nstore = "{store}"\n')
        return {}

    return give


PLACES = ["flag", "variable", "gateway.toml", "pyproject.toml"]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_place_higher_up_wins(give: Give, first: int) -> None:
    flags: dict[str, Any] = {}
    for place in PLACES[first:]:
        flags |= give(place, f"sqlite:///{place}.db")
    assert load_settings(**flags).store == f"sqlite:///{PLACES[first]}.db"


def test_places_are_combined(give: Give, directory: Path) -> None:
    give("variable", "redis://localhost")
    (directory / "gateway.toml").write_text('host = "0.0.0.0"\nport = 1\n')
    (directory / "pyproject.toml").write_text("[tool.gateway]\nport = 2\nworkers = 3\n")
    settings = load_settings(port=None, legacy="theirs:app")
    found = (settings.store, settings.host, settings.port, settings.workers, settings.legacy)
    assert found == ("redis://localhost", "0.0.0.0", 1, 3, "theirs:app")


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.store, settings.port, settings.environment) == ("sqlite:///.gateway/plan.db", 8000, "development")


@pytest.mark.parametrize(
    ("flags", "apps"),
    [
        ({}, ("legacy_flask.wsgi:app", "async_api.main:app")),
        ({"legacy": "a:app"}, ("a:app", None)),
        ({"target": "b:app"}, (None, "b:app")),
        ({"legacy": "a:app", "target": "b:app"}, ("a:app", "b:app")),
    ],
)
def test_apps_default_only_together(flags: dict[str, Any], apps: tuple[str | None, str | None]) -> None:
    settings = load_settings(**flags)
    assert (settings.legacy_app, settings.target_app) == apps


@pytest.mark.parametrize("name", ["gateway.toml", "pyproject.toml"])
def test_token_in_a_configuration_file_is_refused(directory: Path, name: str) -> None:
    table = "[tool.gateway]\n" if name == "pyproject.toml" else ""
    (directory / name).write_text(f'{table}admin_token = "{RANDOM}"\n')
    with pytest.raises(SettingsError, match="must not stand in a configuration file") as refusal:
        load_settings()
    assert RANDOM not in str(refusal.value)


def test_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", RANDOM)
    settings = load_settings()
    assert settings.token == RANDOM
    assert RANDOM not in repr(settings)


def test_token_comes_from_a_file_named_anywhere(directory: Path) -> None:
    (directory / "token").write_text(f"{RANDOM}\n")
    (directory / "gateway.toml").write_text('admin_token_file = "token"\n')
    assert load_settings().token == RANDOM


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the admin token: .*No such file"),
        ("", "the file of the admin token is empty: token"),
        (" \n", "is empty"),
        ("\udcff", "cannot read the admin token: .*decode"),
    ],
)
def test_token_file_without_a_token_is_refused(directory: Path, content: str | None, message: str) -> None:
    if content is not None:
        (directory / "token").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=message):
        _ = load_settings(admin_token_file="token").token


@pytest.mark.parametrize("given", [None, ""])
def test_token_is_made_in_development_where_none_is_given(given: str | None) -> None:
    settings = load_settings(admin_token=given)
    assert len(settings.token) >= 16
    assert settings.token == settings.token != load_settings(admin_token=given).token


@pytest.mark.parametrize(
    "token", [None, "", "short", "changeme-changeme-changeme", "Secret-but-known-to-all", "x" * 40]
)
def test_production_refuses_a_missing_or_placeholder_token(token: str | None) -> None:
    with pytest.raises(SettingsError, match="production needs an admin token that is no placeholder"):
        load_settings(environment="production", admin_token=token)


def test_production_takes_a_token_from_a_file(directory: Path) -> None:
    (directory / "token").write_text(RANDOM)
    assert load_settings(environment="production", admin_token_file="token").token == RANDOM


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": 70_000}, "port: Input should be less than or equal to 65535"),
        ({"workers": 0}, "workers: Input should be greater than or equal to 1"),
        ({"legacy_threads": 0}, "legacy_threads: "),
        ({"environment": "staging"}, "environment: Input should be 'development' or 'production'"),
        ({"overlaps": {"GET /x": "new"}}, "overlaps.GET /x: Input should be 'legacy' or 'async'"),
        ({"control_prefix": "/"}, "control_prefix: must be a path such as /_gateway"),
        ({"control_prefix": "gateway"}, "control_prefix: must be"),
        ({"control_prefix": "/gateway/"}, "control_prefix: must be"),
        ({"control_prefix": "/{x}"}, "control_prefix: must be"),
        ({"canary_key": "session"}, "'session' is no caller key"),
        ({"trusted_proxies": "10.0.0.0/8,here"}, "trusted_proxies.1"),
        ({"stor": "x"}, "stor: Extra inputs are not permitted"),
        ({"admin_token": 5}, "admin_token: Input should be a valid string"),
    ],
)
def test_setting_that_makes_no_sense_is_named(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(**flags)


def test_every_bad_setting_is_named_at_once(directory: Path) -> None:
    (directory / "gateway.toml").write_text('workers = "many"\nprot = 1\n')
    with pytest.raises(SettingsError) as refusal:
        load_settings(port=-1)
    assert [name for name in ("workers: ", "prot: ", "port: ") if name not in str(refusal.value)] == []


@pytest.mark.parametrize("name", ["gateway.toml", "pyproject.toml"])
def test_configuration_file_that_is_no_toml_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_text("port = [")
    with pytest.raises(SettingsError, match="the settings cannot be read: "):
        load_settings()


def test_variable_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_OVERLAPS", "{GET /x: async}")
    with pytest.raises(SettingsError, match='the settings cannot be read: error parsing value for field "overlaps"'):
        load_settings()


def test_lists_are_separated_by_commas_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CANARY_KEY", "cookie:sid, header:X-Key ,address,")
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", "10.0.0.1, fd00::/8")
    monkeypatch.setenv("GATEWAY_OVERLAPS", '{"GET /x": "async"}')
    settings = load_settings()
    assert settings.caller_keys == (CallerKey("cookie", "sid"), CallerKey("header", "x-key"), CallerKey("address"))
    assert settings.trusted_proxies == (IPv4Network("10.0.0.1/32"), IPv6Network("fd00::/8"))
    assert settings.overlaps == {"GET /x": "async"}


def test_lists_and_tables_are_tomls_own_in_files(directory: Path) -> None:
    (directory / "gateway.toml").write_text(
        'canary_key = ["address"]\ntrusted_proxies = ["10.0.0.0/8"]\n[overlaps]\n"GET /x" = "legacy"\n'
    )
    settings = load_settings()
    found = (settings.canary_key, settings.trusted_proxies, settings.overlaps)
    assert found == (("address",), (IPv4Network("10.0.0.0/8"),), {"GET /x": "legacy"})


def test_unknown_variables_are_named_with_the_nearest() -> None:
    environ = {"GATEWAY_STOER": "x", "GATEWAY_STORE": "x", "GATEWAY_URL": "x", "GATEWAY_ZZZ": "x", "PATH": "x"}
    assert list(unknown_variables(environ)) == [("GATEWAY_STOER", "; did you mean GATEWAY_STORE?"), ("GATEWAY_ZZZ", "")]


def test_variables_of_the_command_line_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_RUNTIME_DIR", "/run")
    assert load_settings().port == 8000


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description or ""
    assert description.endswith(".")
    assert len(description) > 10


@pytest.mark.skipif(not DOCS.exists(), reason="there is no page of the settings here")
def test_every_setting_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `GATEWAY_(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert set(documented) == {name.upper() for name in Settings.model_fields}
