import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import AppImportError
from gateway.importing import load_app

MODULE = """
class App:
    def __init__(self, name="made", debug=False):
        self.name = (name, debug)

    def __call__(self, environ, start_response):
        return [self.name[0].encode()]


class holder:
    app = App("held")


def create_app(name="made", *, debug=False):
    return App(name, debug)


def needs_a_name(name):
    return App(name)


def wsgi(environ, start_response):
    return []


async def asgi(scope, receive, send):
    return None


def fails():
    raise RuntimeError("the app's own trouble")


def makes_nothing():
    return None


app = App("app")
setting = 5
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module that can be imported during the test, and only then."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def module(write: Callable[[str, str], None]) -> None:
    write("theirs", MODULE)
    write("package.inner", MODULE)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("import_string", "name"),
    [
        ("theirs:app", ("app", False)),
        ("theirs", ("app", False)),
        ("package.inner:app", ("app", False)),
        ("theirs:holder.app", ("held", False)),
        ("theirs:create_app", ("made", False)),
        ("theirs:create_app()", ("made", False)),
        ("theirs:create_app('x', debug=True)", ("x", True)),
        ("theirs:App('y')", ("y", False)),
        ("theirs:needs_a_name(name='z')", ("z", False)),
    ],
)
def test_load_app_takes_an_app_a_factory_or_a_call(import_string: str, name: tuple[str, bool]) -> None:
    assert load_app(import_string).name == name  # type: ignore[attr-defined]


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("name", ["wsgi", "asgi", "needs_a_name"])
def test_load_app_calls_no_function_that_takes_arguments(name: str) -> None:
    assert load_app(f"theirs:{name}").__name__ == name


def test_load_app_prefers_gunicorns_name_for_a_bare_module(write: Callable[[str, str], None]) -> None:
    write("both_names", "def app(e, s): ...\ndef application(e, s): ...\n")
    assert load_app("both_names").__name__ == "application"


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("import_string", "message"),
    [
        ("", "'' names no module: write it as 'package.module:app'"),
        (":app", "':app' names no module: write it as 'package.module:app'"),
        (
            "nothing:app",
            "no module 'nothing' for 'nothing:app'. Modules are looked up in the working directory and in PYTHONPATH",
        ),
        (
            "package.other:app",
            "no module 'package.other' for 'package.other:app'. "
            "Modules are looked up in the working directory and in PYTHONPATH",
        ),
        (
            "src/nothing.py:app",
            "no module 'src/nothing' for 'src/nothing.py:app': for a file write 'src.nothing'. "
            "Modules are looked up in the working directory and in PYTHONPATH",
        ),
        ("theirs:ap", "'theirs' has no 'ap'; did you mean 'app'?"),
        ("theirs:zzzz", "'theirs' has no 'zzzz'"),
        ("theirs:holder.zzzz", "'theirs' has no 'holder.zzzz'"),
        ("theirs:app[0]", "cannot read 'theirs:app[0]': after the colon goes a name or a call, as create_app()"),
        (
            "theirs:create_app(",
            "cannot read 'theirs:create_app(': after the colon goes a name or a call, as create_app()",
        ),
        (
            "theirs:create_app(app)",
            "'theirs:create_app(app)' can pass only literals to the factory: text, numbers, lists",
        ),
        (
            "theirs:create_app({[]: 1})",
            "'theirs:create_app({[]: 1})' can pass only literals to the factory: text, numbers, lists",
        ),
        (
            "theirs:create_app(1, 2)",
            "'theirs:create_app(1, 2)' does not fit the factory: too many positional arguments",
        ),
        (
            "theirs:needs_a_name()",
            "'theirs:needs_a_name()' does not fit the factory: missing a required argument: 'name'",
        ),
        ("theirs:setting", "'theirs:setting' is a int, not an application: nothing can call it"),
        ("theirs:makes_nothing", "'theirs:makes_nothing' is a NoneType, not an application: nothing can call it"),
    ],
)
def test_load_app_says_what_is_wrong_with_an_import_string(import_string: str, message: str) -> None:
    with pytest.raises(AppImportError) as refusal:
        load_app(import_string)
    assert str(refusal.value) == message


def test_bare_module_without_an_app_is_refused(write: Callable[[str, str], None]) -> None:
    write("empty", "")
    with pytest.raises(AppImportError) as refusal:
        load_app("empty")
    assert str(refusal.value) == "'empty' has neither 'application' nor 'app': say which, as 'empty:name'"


@pytest.mark.usefixtures("module")
def test_error_of_the_apps_own_factory_is_raised_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="the app's own trouble"):
        load_app("theirs:fails()")


@pytest.mark.parametrize("text", ["import a_missing_dependency", "from package import a_missing_part", "1 / 0"])
def test_error_of_the_apps_own_module_is_raised_as_it_is(write: Callable[[str, str], None], text: str) -> None:
    write("package.__init__", "")
    write("package.broken", text)
    with pytest.raises((ImportError, ZeroDivisionError)) as error:
        load_app("package.broken:app")
    assert not isinstance(error.value, AppImportError)
