import base64
import json
import os
import subprocess
import sys
import zlib
from typing import Any

import pytest
from flask import Flask
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from gateway.canary import CallerKey, caller, find_cookie, in_canary
from gateway.errors import SettingsError

CALLERS = [f"user-{number}" for number in range(10_000)]


def cookie(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", text.encode("latin-1"))]


def find(key: str, headers: list[tuple[bytes, bytes]], address: str = "192.0.2.7") -> str | None:
    return CallerKey.parse(key).find(headers, address)


class LaterSigner(TimestampSigner):
    """Signs as if some minutes had passed."""

    def get_timestamp(self) -> int:
        return super().get_timestamp() + 1000


def session_cookie(contents: dict[str, Any], secret: str = "a secret of the app", later: bool = False) -> str:
    """As Flask's own session interface writes it."""
    app = Flask("legacy", static_folder=None)
    app.secret_key = secret
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    assert isinstance(serializer, URLSafeTimedSerializer)
    if later:
        serializer.signer = LaterSigner
    return "session=" + serializer.dumps(contents)


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 99])
def test_share_of_callers_is_the_percentage(percent: float) -> None:
    share = sum(in_canary(name, percent) for name in CALLERS) / len(CALLERS)
    assert share == pytest.approx(percent / 100, abs=0.01)


def test_small_shares_are_not_rounded_away() -> None:
    assert 0 < sum(in_canary(name, 0.1) for name in CALLERS) < 30


@pytest.mark.parametrize(("percent", "number"), [(0, 0), (100, len(CALLERS))])
def test_ends_of_the_scale_are_nobody_and_everybody(percent: float, number: int) -> None:
    assert sum(in_canary(name, percent) for name in CALLERS) == number


def test_raising_the_percentage_only_adds_callers() -> None:
    members: set[str] = set()
    for percent in (0.1, 5, 10, 10.5, 60, 100):
        grown = {name for name in CALLERS if in_canary(name, percent)}
        assert members < grown
        members = grown


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_every_process_answers_the_same(seed: str) -> None:
    code = "from gateway.canary import in_canary\nprint([in_canary(f'user-{number}', 30) for number in range(200)])\n"
    environ = {**os.environ, "PYTHONHASHSEED": seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert json.loads(printed.stdout.lower()) == [in_canary(name, 30) for name in CALLERS[:200]]


@pytest.mark.parametrize("name", ["", "é", "\udcff", "x" * 100_000])
def test_any_text_is_a_caller(name: str) -> None:
    assert in_canary(name, 100)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("address", CallerKey("address")),
        ("header:X-Api-Key", CallerKey("header", "x-api-key")),
        ("cookie:sid", CallerKey("cookie", "sid")),
        ("cookie:session#_user_id", CallerKey("cookie", "session", "_user_id")),
        ("cookie:__Host-sid", CallerKey("cookie", "__Host-sid")),
    ],
)
def test_key_is_parsed(text: str, key: CallerKey) -> None:
    assert CallerKey.parse(text) == key


@pytest.mark.parametrize(
    "text", ["", "cookie", "cookie:", "cookie:#x", "header:", "header:x#y", "address:x", "session"]
)
def test_anything_else_is_no_key(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is no caller key: write cookie:NAME"):
        CallerKey.parse(text)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("sid=a", "a"),
        ("other=1; sid=a", "a"),
        ("sid=a; sid=b", "a"),
        ('sid="a b"', "a b"),
        ("xsid=1;sid=a=b", "a=b"),
        ("sid=", ""),
        ("SID=a", None),
        ("sid", None),
        ("", None),
        ("sid=\xe9", "\xe9"),
    ],
)
def test_first_cookie_of_the_name_counts(header: str, value: str | None) -> None:
    assert find_cookie(cookie(header), "sid") == value


def test_cookie_may_stand_in_any_of_several_headers() -> None:
    headers = [(b"accept", b"sid=no"), *cookie("a=1"), *cookie("sid=yes")]
    assert find_cookie(headers, "sid") == "yes"


def test_header_is_found_in_any_case() -> None:
    assert find("header:X-API-Key", [(b"x-api-key", b"k")]) == "k"
    assert find("header:X-API-Key", [(b"x-other", b"k")]) is None


@pytest.mark.parametrize(
    "contents",
    [{"_user_id": "42"}, {"_user_id": "42", "basket": ["x" * 50] * 100}, {"_user_id": 42, "_fresh": True}],
    ids=["plain", "compressed", "number"],
)
def test_user_is_read_from_flasks_signed_session(contents: dict[str, Any]) -> None:
    written = session_cookie(contents)
    assert written.startswith("session=.") is ("basket" in contents)
    assert find("cookie:session#_user_id", cookie(written)) == "42"


def test_user_stays_the_same_while_the_session_changes() -> None:
    sessions = [{"_user_id": "42"}, {"_user_id": "42", "cart": [1]}, {"a": "b", "_user_id": "42"}]
    found = {find("cookie:session#_user_id", cookie(session_cookie(session))) for session in sessions}
    assert found == {"42"}


@pytest.mark.parametrize("contents", [{}, {"_user_id": None}, {"user": "42"}])
def test_session_without_the_field_is_no_key(contents: dict[str, Any]) -> None:
    assert find("cookie:session#_user_id", cookie(session_cookie(contents))) is None


def test_session_counts_by_its_contents_not_by_time_and_signature() -> None:
    contents = {"csrf": "token"}
    first = session_cookie(contents)
    again = [session_cookie(contents, later=True), session_cookie(contents, secret="another secret")]
    assert len({first, *again}) == 3
    assert len({find("cookie:session", cookie(written)) for written in (first, *again)}) == 1
    assert find("cookie:session", cookie(session_cookie({"csrf": "other"}))) != find("cookie:session", cookie(first))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + "s" * 43, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIyIn0." + "t" * 43),
        ("GA1.2.1033501218.1368477899", "GA1.2.1033501219.1368477899"),
        ("a.b.c", "a.b.d"),
    ],
    ids=["JSON Web Token", "Google Analytics", "dots"],
)
def test_other_cookies_count_as_a_whole(one: str, other: str) -> None:
    """Their first part is the same for everybody, so that one place would hold all callers."""
    assert find("cookie:session", cookie(f"session={one}")) == one
    assert find("cookie:session", cookie(f"session={other}")) == other


def signed(payload: bytes) -> str:
    return f"session={payload.decode('latin-1')}.aaaaaa.{'s' * 27}"


BOMB = base64.urlsafe_b64encode(zlib.compress(b'{"_user_id": "1", "x": "' + b"0" * 10_000_000 + b'"}')).rstrip(b"=")


@pytest.mark.parametrize(
    "written",
    [
        "session=",
        "session=garbage",
        "session=...",
        "session=.a.b.c",
        signed(b"garbage"),
        signed(b"\xe9"),
        signed(b"."),
        signed(b".garbage"),
        signed(base64.urlsafe_b64encode(b"[1]")),
        signed(base64.urlsafe_b64encode(b"null")),
        signed(base64.urlsafe_b64encode(b"\xff\xff")),
        signed(base64.urlsafe_b64encode(b"[" * 50_000)),
        signed(base64.urlsafe_b64encode(b'{"_user_id": ' + b"9" * 5000 + b"}")),
        signed(b"." + BOMB),
    ],
    ids=range(14),
)
def test_garbage_for_a_session_is_no_key(written: str) -> None:
    assert find("cookie:session#_user_id", cookie(written)) is None


def test_caller_is_the_first_key_that_the_request_has() -> None:
    keys = [CallerKey.parse(text) for text in ("cookie:session#_user_id", "cookie:session", "header:x-key")]
    anonymous, known = session_cookie({"csrf": "c"}), session_cookie({"_user_id": "42"})
    key = (b"x-key", b"k")
    requests = [[*cookie(known), key], [*cookie(anonymous), key], [key], [(b"x-key", b"")], []]
    assert [caller(keys, headers, "192.0.2.7") for headers in requests] == [
        "42",
        find("cookie:session", cookie(anonymous)),
        "k",
        "192.0.2.7",
        "192.0.2.7",
    ]
