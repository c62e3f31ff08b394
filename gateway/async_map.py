"""Async routes as a Werkzeug map: the endpoints that only the async side has are matched as Werkzeug matches."""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.convertors import Convertor, FloatConvertor, IntegerConvertor, UUIDConvertor
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule, ValidationError

from gateway.async_routes import ANY_METHOD, NO_METHODS, AsyncRoute
from gateway.endpoints import Endpoint

CONVERTORS_WITHOUT_SLASHES = (IntegerConvertor, FloatConvertor, UUIDConvertor)


class AsyncMap:
    """The endpoints that only the async side has, as a Werkzeug map."""

    def __init__(self, endpoints: Iterable[Endpoint], websockets: Iterable[AsyncRoute]) -> None:
        rules: list[Rule] = []
        for endpoint in endpoints:
            if endpoint.route is not None:
                methods = None if endpoint.method == ANY_METHOD else [endpoint.method]
                rules.append(async_rule(endpoint.route, endpoint, methods=methods))
        rules += [async_rule(route, route, websocket=True) for route in websockets]
        self._empty = not rules
        self._adapter = Map(rules, merge_slashes=False).bind("localhost")

    def match(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, Any]] | None:
        if self._empty:
            return None
        try:
            rule, values = self._adapter.match(path, method, return_rule=True)
        except HTTPException:
            return None
        return rule.endpoint, values

    def knows(self, path: str) -> bool:
        """Whether the path is one of these but for its method or final slash."""
        try:
            self._adapter.match(path, "GET")
        except (MethodNotAllowed, RequestRedirect):
            return True
        except HTTPException:
            return False
        return True

    def methods(self, path: str) -> frozenset[str]:
        return NO_METHODS if self._empty else frozenset(self._adapter.allowed_methods(path))

    def match_websocket(self, path: str) -> tuple[AsyncRoute, dict[str, Any]] | None:
        try:
            rule, values = self._adapter.match(path, "GET", return_rule=True, websocket=True)
        except HTTPException:
            return None
        return rule.endpoint, dict(values)


class _PathConverter(BaseConverter):
    """Starlette's `{p:path}`, which may be empty, but without its leading slashes (`//etc/passwd`)."""

    regex = r"(?:[^/].*?)?"
    part_isolating = False
    weight = 200


class _ConvertorConverter(BaseConverter):
    """A Starlette convertor in a Werkzeug rule. A value that it refuses is no match rather than an error."""

    def __init__(self, map: Map, convertor: Convertor[Any]) -> None:
        super().__init__(map)
        self.regex = convertor.regex
        # Starlette matches the whole path at once, so that only its own are known to leave the slashes alone.
        self.part_isolating = type(convertor) in CONVERTORS_WITHOUT_SLASHES
        self.convertor = convertor
        self.weight = 50 if isinstance(convertor, (IntegerConvertor, FloatConvertor)) else 100

    def to_python(self, value: str) -> Any:
        try:
            return self.convertor.convert(value)
        except ValueError as exc:
            raise ValidationError from exc


class AsyncRule(Rule):
    """A rule for an async route: its converters are the route's own."""

    def __init__(self, string: str, route: AsyncRoute, **options: Any) -> None:
        super().__init__(string, **options)
        self.route = route

    def get_converter(
        self, variable_name: str, converter_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> BaseConverter:
        if converter_name == "starlette_path":
            return _PathConverter(self.map)
        if converter_name == "starlette":
            return _ConvertorConverter(self.map, self.route.convertors[variable_name])
        return super().get_converter(variable_name, converter_name, args, kwargs)


def async_rule(route: AsyncRoute, endpoint: Any, **options: Any) -> AsyncRule:
    """A rule in a Werkzeug map for what Starlette would match, so that Werkzeug's weights decide between them."""
    text = "".join(
        part if isinstance(part, str) else f"<{_CONVERTER_OF.get(part.kind, 'starlette')}:{part.name}>"
        for part in route.template.parts
    )
    return AsyncRule(text, route, endpoint=endpoint, **options)


_CONVERTER_OF = {"str": "default", "path": "starlette_path"}
