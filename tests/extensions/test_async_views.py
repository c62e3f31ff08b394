"""`flask[async]`."""

from tests.examples.session import MULTIPART, field, file, parts
from tests.extensions.rules import body_length, in_body, signing_time
from tests.extensions.visitors import Both, Visitor


def test_views_and_hooks_await(both: Both) -> None:
    for visitor in both():
        page = visitor.get("/async/gather", ("X-User", "ada"))

        assert page.json == [f"opened {number} for ada at /gather" for number in range(3)]
        assert page.header("x-user") == "ada"
        assert visitor.get("/async/things/7").json == {"number": 7}
        assert visitor.send("HEAD", "/async/things/7").body == b""


def test_view_reads_form_files_and_session(both: Both) -> None:
    body = parts(field("a", b"1"), file("f", "f.txt", "text/plain", b"content"))
    for visitor in both(signing_time):
        page = visitor.send("POST", "/async/body", MULTIPART, body)

        assert page.json == {"form": {"a": "1"}, "files": {"f": 7}}
        assert "session" in visitor.cookies


def test_errors_reach_their_async_handlers(both: Both) -> None:
    for visitor in both():
        conflict = visitor.get("/async/conflict")

        assert (conflict.status, conflict.text) == (409, "async conflict")
        assert visitor.get("/async/broken").status == 500


def test_context_variable_set_by_a_view_is_seen_by_the_hooks_after_it(both: Both) -> None:
    for visitor in both(body_length, in_body(b"^(unset|fr|de)$", b"<before>")):
        languages = [visitor.get(f"/async/variable?language={name}")["content-language"] for name in ("fr", "de")]

        assert languages == ["fr", "de"]


def test_difference_context_variable_does_not_stay_for_the_next_request(both: Both) -> None:
    visitor = Visitor(both.gateway)

    assert [visitor.get("/async/variable?language=fr").text for _ in range(2)] == ["unset", "unset"]


def test_sync_view_runs_a_loop_of_its_own(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/async/own-loop").text == "from asyncio.run in a sync view"
