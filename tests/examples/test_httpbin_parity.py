"""The FastAPI app, alone under uvicorn, answers as httpbin does under gunicorn."""

import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest
from fastapi.routing import APIRoute

from examples.httpbin.app import ROUTERS
from tests.examples.comparison import Answer, apply_rules, reduce_answer
from tests.examples.servers import ROOT, serve_asgi, serve_wsgi
from tests.examples.session import MOVED, SESSION, STAYING, Call, run_session

Answers = dict[str, Answer]

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
ENDPOINTS = [(method, route) for route in ROUTES for method in sorted(route.methods or ())]


@pytest.fixture(scope="module")
def legacy_port() -> Iterator[int]:
    with serve_wsgi("httpbin:app") as port:
        yield port


@pytest.fixture(scope="module")
def legacy_answers(legacy_port: int) -> Answers:
    return run_session(legacy_port)


@pytest.fixture(scope="module")
def legacy_answers_again(legacy_port: int, legacy_answers: Answers) -> Answers:
    return run_session(legacy_port)


@pytest.fixture(scope="module")
def async_answers() -> Iterator[Answers]:
    with serve_asgi("examples.httpbin.app:app") as port:
        yield run_session(port, MOVED)


@pytest.mark.parametrize("call", MOVED, ids=lambda call: call.name)
def test_async_app_answers_as_httpbin_does(call: Call, legacy_answers: Answers, async_answers: Answers) -> None:
    legacy, new = legacy_answers[call.name], async_answers[call.name]

    assert reduce_answer(new, call.rules) == reduce_answer(legacy, call.rules)
    # Clients were promised the same JSON value; this app writes it with the same bytes, too.
    assert apply_rules(new, call.rules).body == apply_rules(legacy, call.rules).body


@pytest.mark.parametrize("call", SESSION, ids=lambda call: call.name)
def test_httpbin_answers_as_it_did_before(call: Call, legacy_answers: Answers, legacy_answers_again: Answers) -> None:
    """Every generated value has its rule: else a difference between two servers would prove nothing."""
    first, second = legacy_answers[call.name], legacy_answers_again[call.name]

    assert reduce_answer(second, call.rules) == reduce_answer(first, call.rules)


def test_session_names_each_call_once() -> None:
    names = [call.name for call in SESSION]

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("method", "route"), ENDPOINTS, ids=[f"{method} {route.path}" for method, route in ENDPOINTS])
def test_session_reaches_each_endpoint_of_the_async_app(method: str, route: APIRoute) -> None:
    paths = [unquote(urlsplit(call.target).path) for call in MOVED if call.method == method]

    assert any(route.path_regex.match(path) for path in paths)


def test_staying_calls_reach_no_endpoint_of_the_async_app() -> None:
    paths = [urlsplit(call.target).path for call in STAYING]

    assert [path for path in paths if any(route.path_regex.match(path) for route in ROUTES)] == []


def test_async_app_needs_no_flask() -> None:
    without = "import sys; sys.modules.update(dict.fromkeys(['flask', 'werkzeug', 'httpbin']))"

    subprocess.run([sys.executable, "-c", f"{without}; import examples.httpbin.app"], cwd=ROOT, check=True)
