"""Hooks and signals come in the order, and at the time, that they have under gunicorn."""

from tests.extensions.rules import signing_time
from tests.extensions.visitors import Both, Visitor

EVERYTHING = 1_000_000


def begin(endpoint: str, values: str = "{}") -> list[str]:
    requested = ["called", "signal appcontext_pushed", "signal request_started"]
    return [*requested, f"preprocess {endpoint} {values}", "before"]


def end(error: str = "None", user: str = "nobody", *, part: bool = False) -> list[str]:
    """Of a context; a streamed answer has two."""
    return [
        *(["teardown part"] if part else []),
        f"teardown request {error} {user}",
        "signal request_tearing_down",
        f"teardown context {error}",
        "signal appcontext_tearing_down",
        "signal appcontext_popped",
    ]


def finish(status: int) -> list[str]:
    return [f"after {status}", "signal request_finished"]


def read_journal(visitor: Visitor) -> list[str]:
    lines: list[str] = visitor.get("/hooks/journal").json
    return lines


def test_page(both: Both) -> None:
    for visitor in both(signing_time):
        page = visitor.get("/hooks/watched/page?user=ada")

        assert (page.text, page.header("x-user")) == ("ada", "ada")
        assert read_journal(visitor) == [
            *begin("page"),
            "signal message_flashed",
            "signal before_render_template",
            "signal template_rendered",
            "after this request",
            *finish(200),
            *end(user="ada"),
            "call on close",
            "closed",
        ]


def test_page_of_a_blueprint(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/part/7").text == "7"
        assert read_journal(visitor) == [
            *begin("part.part_page", "{'number': 7}"),
            "before part",
            "view",
            "after part",
            *finish(200),
            *end(part=True),
            "closed",
        ]


def test_hook_that_answers_skips_the_view(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/part/7?stop").text == "stopped early"
        assert read_journal(visitor) == [
            *begin("part.part_page", "{'number': 7}"),
            "after part",
            *finish(403),
            *end(part=True),
            "closed",
        ]


def test_page_that_is_not_there(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/absent").status == 404
        assert read_journal(visitor) == [*begin("None", "None"), *finish(404), *end(), "closed"]


def test_exception_that_is_handled(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/handled").text == "not in here"
        assert read_journal(visitor) == [
            *begin("handled"),
            "handler KeyError('handled')",
            *finish(410),
            *end(),
            "closed",
        ]


def test_exception_that_nobody_handles(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/broken").status == 500
        assert read_journal(visitor) == [
            *begin("broken"),
            "signal got_request_exception",
            *finish(500),
            *end("RuntimeError('broken')"),
            "closed",
        ]


def test_stream_with_context_has_a_second_context(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/stream").text == "0\n1\n2\n"
        assert read_journal(visitor) == [
            *begin("stream"),
            *finish(200),
            *end(),
            "signal appcontext_pushed",
            *(f"piece {number} True" for number in range(3)),
            "generator closed",
            *end(),
            "closed",
        ]


def test_stream_asked_for_by_head_never_begins(both: Both) -> None:
    for visitor in both():
        assert visitor.send("HEAD", "/hooks/watched/stream").body == b""
        assert read_journal(visitor) == [*begin("stream"), *finish(200), *end(), "closed"]


def test_stream_without_context_has_none(both: Both) -> None:
    for visitor in both():
        assert visitor.get("/hooks/watched/stream-without-context").text == "0\n1\n2\n"
        assert read_journal(visitor) == [
            *begin("stream_without_context"),
            *finish(200),
            *end(),
            *(f"piece {number} False" for number in range(3)),
            "generator closed",
            "closed",
        ]


def test_client_that_leaves_closes_the_generator(both: Both) -> None:
    for visitor in both():
        visitor.leave("/hooks/watched/endless?user=ada", after_bytes=100_000)

        assert read_journal(visitor) == [
            *begin("endless"),
            *finish(200),
            *end(user="ada"),
            "signal appcontext_pushed",
            "generator closed for ada",
            *end("GeneratorExit()", "ada"),
            "closed",
        ]


def test_exception_in_a_stream_breaks_the_answer_off(both: Both) -> None:
    for visitor in both():
        received = visitor.leave("/hooks/watched/breaks-off", after_bytes=EVERYTHING)

        assert received.endswith(b"\r\n7\r\na piece\r\n")
        assert read_journal(visitor) == [
            *begin("breaks_off"),
            *finish(200),
            *end(),
            "signal appcontext_pushed",
            *end("RuntimeError('no more pieces')"),
            "closed",
        ]
