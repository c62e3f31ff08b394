"""Import strings, as gunicorn and uvicorn take them: an app, a factory, or a call with literal arguments."""

import ast
import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from gateway.errors import AppImportError

# What a bare module name stands for: gunicorn's convention first, then Flask's and uvicorn's.
DEFAULT_ATTRIBUTES = ("application", "app")


def load_app(import_string: str) -> Callable[..., Any]:
    """The application behind `pkg.module:app`, `…:create_app` (called), `…:create_app('x', y=1)` or `pkg.module`.

    Raises AppImportError for a string that names nothing. An exception of the application's own code is raised
    as it is: its traceback is what the reader needs.
    """
    module_name, _, expression = import_string.partition(":")
    module = _import_module(module_name, import_string)
    obj = _evaluate(module, expression, import_string) if expression else _default_attribute(module, import_string)
    app: Callable[..., Any] = obj() if _is_factory(obj) else obj
    if not callable(app):
        raise AppImportError(f"'{import_string}' is a {type(app).__name__}, not an application: nothing can call it")
    return app


def _import_module(name: str, import_string: str) -> ModuleType:
    if not name:
        raise AppImportError(f"'{import_string}' names no module: write it as 'package.module:app'")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Only a missing module of that very name is a wrong import string; one that it imports is its own problem.
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        hint = f": for a file write '{name[:-3].replace('/', '.')}'" if name.endswith(".py") else ""
        raise AppImportError(
            f"no module '{exc.name}' for '{import_string}'{hint}. "
            "Modules are looked up in the working directory and in PYTHONPATH"
        ) from exc


def _default_attribute(module: ModuleType, import_string: str) -> Any:
    for name in DEFAULT_ATTRIBUTES:
        if hasattr(module, name):
            return getattr(module, name)
    raise AppImportError(f"'{import_string}' has neither 'application' nor 'app': say which, as '{import_string}:name'")


def _evaluate(module: ModuleType, expression: str, import_string: str) -> Any:
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        node = None
    if not isinstance(node, ast.Call):
        return _resolve(module, node, import_string)
    factory = _resolve(module, node.func, import_string)
    try:
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
    except (ValueError, TypeError):
        raise AppImportError(f"'{import_string}' can pass only literals to the factory: text, numbers, lists") from None
    try:
        inspect.signature(factory).bind(*args, **kwargs)
    except TypeError as exc:
        raise AppImportError(f"'{import_string}' does not fit the factory: {exc}") from exc
    return factory(*args, **kwargs)


def _resolve(module: ModuleType, node: ast.expr | None, import_string: str) -> Any:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise AppImportError(f"cannot read '{import_string}': after the colon goes a name or a call, as create_app()")
    names.append(node.id)
    obj: Any = module
    for name in reversed(names):
        try:
            obj = getattr(obj, name)
        except AttributeError as exc:
            near = get_close_matches(name, dir(obj), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise AppImportError(f"'{module.__name__}' has no '{'.'.join(reversed(names))}'{hint}") from exc
    return obj


def _is_factory(obj: Any) -> bool:
    """Whether `obj` is a function to call without arguments. WSGI apps take two, ASGI apps three."""
    if not inspect.isfunction(obj):
        return False
    try:
        inspect.signature(obj).bind()
    except TypeError:
        return False
    return True
