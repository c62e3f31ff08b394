"""The same session through the gateway, with every endpoint on one side and then on the other."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.examples.comparison import Answer, reduce_answer
from tests.examples.servers import serve, serve_wsgi
from tests.examples.session import MOVED, SESSION, STAYING, Call, run_session
from tests.servers import find_free_port

Answers = dict[str, Answer]

TOKEN = "token-of-the-parity-test"
PAIR = ["--legacy", "httpbin:app", "--target", "examples.httpbin.app:app"]


@pytest.fixture(scope="module")
def httpbin_answers() -> Iterator[Answers]:
    with serve_wsgi("httpbin:app") as port:
        yield run_session(port)


@pytest.fixture(scope="module")
def gateway_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    port = find_free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_ADMIN_TOKEN", TOKEN)
        patch.setenv("GATEWAY_STATE_DIR", str(directory))
        patch.setenv("GATEWAY_STORE", f"sqlite:///{directory}/plan.db")
        with serve(["-m", "gateway", "serve", *PAIR, "--port", str(port)], port):
            yield port


@pytest.fixture(scope="module")
def answers_on_legacy(gateway_port: int) -> Answers:
    move_all(gateway_port, "legacy")
    return run_session(gateway_port)


@pytest.fixture(scope="module")
def answers_on_async(gateway_port: int, answers_on_legacy: Answers) -> Answers:
    moved = move_all(gateway_port, "async")
    assert moved >= 40
    return run_session(gateway_port)


def move_all(port: int, stage: str) -> int:
    response = httpx.post(
        f"http://127.0.0.1:{port}/_gateway/stage",
        json={"endpoints": ["* /*"], "stage": stage},
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    response.raise_for_status()
    return len(response.json()["moves"])


@pytest.mark.parametrize("call", SESSION, ids=lambda call: call.name)
def test_legacy_through_gateway_answers_as_alone(
    call: Call, httpbin_answers: Answers, answers_on_legacy: Answers
) -> None:
    alone, mounted = httpbin_answers[call.name], answers_on_legacy[call.name]

    assert reduce_answer(mounted, call.rules) == reduce_answer(alone, call.rules)


@pytest.mark.parametrize("call", SESSION, ids=lambda call: call.name)
def test_async_through_gateway_answers_as_httpbin_alone(
    call: Call, httpbin_answers: Answers, answers_on_async: Answers
) -> None:
    alone, moved = httpbin_answers[call.name], answers_on_async[call.name]

    assert reduce_answer(moved, call.rules) == reduce_answer(alone, call.rules)


def test_the_session_was_served_by_the_side_that_the_plan_names(
    answers_on_legacy: Answers, answers_on_async: Answers
) -> None:
    assert {answer.header("x-served-by") for answer in answers_on_legacy.values()} == {"legacy"}
    assert {answers_on_async[call.name].header("x-served-by") for call in STAYING} == {"legacy"}
    on_async = [call.name for call in MOVED if answers_on_async[call.name].header("x-served-by") == "async"]
    assert len(on_async) > 200
