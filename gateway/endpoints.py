"""Endpoints: a method and a path template, with what either side has for them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.convertors import Convertor
from werkzeug.routing import BaseConverter

from gateway.async_routes import AsyncRoute
from gateway.errors import MoveRefusedError
from gateway.legacy_routes import LegacyRule
from gateway.plan import Placement, Stage
from gateway.templates import Template, parse_starlette, parse_werkzeug


class Side(StrEnum):
    """An upstream: the Flask app or the FastAPI app."""

    LEGACY = "legacy"
    ASYNC = "async"


class Argument(NamedTuple):
    """How a path parameter as Werkzeug converted it becomes the one that the async route expects."""

    name: str
    source: str
    converter: BaseConverter
    convertor: Convertor[Any] | None
    """None where the async side takes the text as it is."""

    def value(self, values: Mapping[str, Any]) -> Any:
        value = values[self.source]
        # Back to canonical text first: Werkzeug's `\\d+` takes any Unicode digit, Starlette and pydantic ASCII only.
        text = value if isinstance(value, str) else unquote(self.converter.to_url(value))
        return text if self.convertor is None else self.convertor.convert(text)


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One endpoint of the service. `id`, such as `GET /api/news/{news_id}`, is its name everywhere."""

    id: str
    method: str
    template: Template
    rule: LegacyRule | None = None
    route: AsyncRoute | None = None
    head_route: AsyncRoute | None = None
    """The async route for HEAD where it is not the one for GET."""
    arguments: tuple[Argument, ...] = ()
    presumed: bool = False
    """Whether the legacy side counts as having it only because nobody can tell: its app shows no routes."""

    @property
    def has_legacy(self) -> bool:
        return self.rule is not None or self.presumed

    @property
    def initial(self) -> Placement:
        """Where the endpoint stands until it is moved: on the legacy side if that has it."""
        return Placement(Stage.LEGACY if self.has_legacy else Stage.ASYNC)

    def placement(self, placements: Mapping[str, Placement]) -> Placement:
        """Where the endpoint stands under these placements; a stage that it cannot have any more does not count."""
        placement = placements.get(self.id)
        if placement is None or self.route is None or not self.has_legacy:
            return self.initial
        return placement

    def route_for(self, method: str) -> AsyncRoute | None:
        return self.head_route if method == "HEAD" and self.head_route is not None else self.route

    def path_params(self, route: AsyncRoute, values: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The path parameters of `route`, one of this endpoint's, for what the request was matched with.

        Raises ValueError when the route's own convertor refuses a value that the legacy one took.
        """
        params = dict(values)
        if self.rule is not None:
            if texts := self.rule.texts(path):
                values = {**values, **texts}
            params = {argument.name: argument.value(values) for argument in self.arguments}
        if route is self.head_route:
            names = [parameter.name for parameter in route.template.parameters]
            params = dict(zip(names, params.values(), strict=True))
        return params


class EndpointNames:
    """Finds endpoints by what people write: any parameter names, either notation, patterns with `*` and `?`."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._by_id = {endpoint.id: endpoint for endpoint in endpoints}
        self._by_shape: dict[tuple[str, tuple[str, ...], str], list[Endpoint]] = {}
        for endpoint in self._by_id.values():
            key = (endpoint.method, endpoint.template.shape, endpoint.template.host)
            self._by_shape.setdefault(key, []).append(endpoint)

    def find(self, name: str) -> list[Endpoint]:
        """The endpoint of that name, or all that match the pattern. Raises MoveRefusedError, never returns nothing."""
        method, _, path = name.strip().partition(" ")
        method, path = method.upper(), path.strip()
        exact = self._by_id.get(f"{method} {path}")
        if exact is not None:
            return [exact]
        found = self._like(method, path) or self._find_named(method, path)
        if not found:
            raise MoveRefusedError(f"there is no endpoint '{name}'{self._hint(name)}")
        return found

    def _like(self, method: str, path: str) -> list[Endpoint]:
        if not set("*?") & set(method + path):
            return []
        return [
            endpoint
            for endpoint in self._by_id.values()
            if fnmatchcase(endpoint.method, method) and fnmatchcase(str(endpoint.template), path)
        ]

    def _find_named(self, method: str, path: str) -> list[Endpoint]:
        host = ""
        if path.startswith("//"):
            host, slash, rest = path[2:].partition("/")
            path = slash + rest
        template = parse_werkzeug(path) if "<" in path else parse_starlette(path)
        same_shape = self._by_shape.get((method, template.shape, host), [])
        same_kinds = [endpoint for endpoint in same_shape if endpoint.template.kinds == template.kinds]
        found = same_shape if len(same_shape) == 1 else same_kinds
        if same_shape and not found:
            names = " or ".join(f"'{endpoint.id}'" for endpoint in same_shape)
            raise MoveRefusedError(f"'{method} {path}' may mean several endpoints: say {names}")
        return found

    def _hint(self, name: str) -> str:
        if " " not in name.strip():
            return ": write it as METHOD /path, for example 'GET /items/{id}'"
        near = get_close_matches(name, self._by_id, n=1, cutoff=0.5)
        return f"; the nearest is '{near[0]}'" if near else "; 'gateway endpoints' lists them"
