"""Which legacy rule and which async route are the same endpoint."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from starlette.convertors import PathConvertor, StringConvertor

from gateway.async_routes import ANY_METHOD, AsyncRoute
from gateway.endpoints import Argument, Endpoint
from gateway.legacy_routes import LegacyRule
from gateway.templates import Parameter

logger = logging.getLogger("gateway.routes")

Key = tuple[str, tuple[str, ...]]
"""Method and shape: what two endpoints must share to be the same one."""
Place = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""Shape and kinds: what the routes of one app for GET and for HEAD must share to be one endpoint."""


def pair(rules: Iterable[LegacyRule], routes: Iterable[AsyncRoute], is_hidden: Callable[[str], bool]) -> list[Endpoint]:
    """Every endpoint of either side, the legacy app's order first. Redirect-only rules are not endpoints.

    `is_hidden` tells of a path whether it lies where the legacy app shows no routes.
    """
    legacy = _legacy_by_key(rules)
    target = _async_by_key(routes)
    heads = _pop_heads(target)
    endpoints: list[Endpoint] = []
    paired: set[tuple[str, AsyncRoute]] = set()
    for key, candidates in legacy.items():
        matches = _assign(candidates, target.get(key, []) + target.get((ANY_METHOD, key[1]), []))
        for rule in candidates:
            route = matches.get(rule)
            if route is not None:
                paired.add((key[0] if ANY_METHOD not in route.methods else ANY_METHOD, route))
            elif key[0] == "OPTIONS" and "OPTIONS" not in rule.methods:
                continue  # Flask's automatic answer: no endpoint of its own unless the async side made it one
            endpoints.append(_endpoint(key[0], rule, route, heads))
    for (method, _), candidates_ in target.items():
        for route in candidates_:
            if method == ANY_METHOD or (method, route) not in paired:
                endpoint = _endpoint(method, None, route, heads)
                endpoints.append(replace(endpoint, presumed=is_hidden(str(route.template))))
    return list(_with_ids(endpoints))


def _legacy_by_key(rules: Iterable[LegacyRule]) -> dict[Key, list[LegacyRule]]:
    by_key: dict[Key, list[LegacyRule]] = defaultdict(list)
    for rule in rules:
        if rule.redirects:
            continue
        automatic = {"OPTIONS"} if "OPTIONS" in (rule.rule.methods or ()) else set()
        for method in sorted(rule.methods | automatic):
            known = by_key[method, rule.template.shape]
            # Of two rules that differ in no more than names Werkzeug always takes the first.
            if all(_place(other) != _place(rule) for other in known):
                known.append(rule)
    # HEAD goes where GET goes (RFC 9110 section 9.3.2), whether or not it has a rule of its own.
    for (method, shape), heads in by_key.items():
        if method == "HEAD":
            gets = {rule.template for rule in by_key.get(("GET", shape), ())}
            heads[:] = [rule for rule in heads if rule.template not in gets]
    return by_key


def _place(rule: LegacyRule) -> tuple[object, ...]:
    return rule.template.kinds, rule.template.host


def _async_by_key(routes: Iterable[AsyncRoute]) -> dict[Key, list[AsyncRoute]]:
    by_key: dict[Key, list[AsyncRoute]] = defaultdict(list)
    for route in routes:
        for method in sorted(route.methods):
            known = by_key[method, route.template.shape]
            if all(other.template.kinds != route.template.kinds for other in known):
                known.append(route)
    return by_key


def _pop_heads(target: dict[Key, list[AsyncRoute]]) -> dict[Place, AsyncRoute]:
    """The routes for HEAD that go with one for GET, and so are no endpoints of their own."""
    heads: dict[Place, AsyncRoute] = {}
    for (method, shape), routes in target.items():
        if method == "HEAD":
            gets = {route.template.kinds for route in target.get(("GET", shape), ())}
            heads |= {(shape, route.template.kinds): route for route in routes if route.template.kinds in gets}
            routes[:] = [route for route in routes if route.template.kinds not in gets]
    return heads


def _assign(rules: list[LegacyRule], routes: list[AsyncRoute]) -> dict[LegacyRule, AsyncRoute]:
    """The best match of rules and routes of one shape; a route that fits two rules equally well fits neither."""
    scores = sorted(((_fit(rule, route), i, j) for i, rule in enumerate(rules) for j, route in enumerate(routes)))
    assigned: dict[LegacyRule, AsyncRoute] = {}
    used: set[AsyncRoute] = set()
    for score, group in groupby(reversed(scores), key=lambda entry: entry[0]):
        if score == 0:
            break
        wanted: dict[AsyncRoute, list[LegacyRule]] = defaultdict(list)
        for _, i, j in sorted(group, key=lambda entry: entry[2]):
            wanted[routes[j]].append(rules[i])
        for route, candidates in wanted.items():
            free = [rule for rule in candidates if rule not in assigned]
            if route in used or not free:
                continue
            used.add(route)
            if len(free) == 1:
                assigned[free[0]] = route
    return assigned


def _fit(rule: LegacyRule, route: AsyncRoute) -> int:
    """How well the kinds of the parameters agree; 0 if one of them rules the pair out."""
    fits = [
        _fit_parameter(theirs, ours, route.annotated.get(ours.name, "str"))
        for theirs, ours in zip(rule.template.parameters, route.template.parameters, strict=True)
    ]
    # No route is bound to a host, so that of two rules the one without is meant.
    return 0 if 0 in fits else 1 + 2 * sum(fits) + (not rule.template.host)


def _fit_parameter(legacy: Parameter, target: Parameter, annotated: str) -> int:
    if target.kind != "str":
        return 0 if legacy.kind != target.kind else 2 if legacy.arguments else 3
    if legacy.kind == "path":
        return 0
    if legacy.arguments:
        return 1
    # `{id}` takes any segment: what it is meant to be, only the handler's signature says.
    return 3 if legacy.kind == annotated else 2 if legacy.kind == "str" else 1


def _endpoint(
    method: str, rule: LegacyRule | None, route: AsyncRoute | None, heads: dict[Place, AsyncRoute]
) -> Endpoint:
    template = (rule or route).template  # type: ignore[union-attr]  # one of them is there
    head = heads.get((template.shape, route.template.kinds)) if route is not None and method == "GET" else None
    arguments = tuple(_arguments(rule, route)) if rule is not None and route is not None else ()
    return Endpoint("", method, template, rule, route, None if head is route else head, arguments)


def _arguments(rule: LegacyRule, route: AsyncRoute) -> Iterator[Argument]:
    for theirs, ours in zip(rule.template.parameters, route.template.parameters, strict=True):
        convertor = route.convertors.get(ours.name)
        plain = convertor is None or type(convertor) in (StringConvertor, PathConvertor)
        yield Argument(ours.name, theirs.name, rule.rule._converters[theirs.name], None if plain else convertor)


def _with_ids(endpoints: list[Endpoint]) -> Iterator[Endpoint]:
    """Give each endpoint its identity.

    Where parameter names alone would give two endpoints one identity, both get the typed form: an entry of the plan
    under the plain name then names nothing any more, rather than the other one of the two.
    """
    by_name: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        by_name[f"{endpoint.method} {_anonymous(endpoint)}"].append(endpoint)
    taken: set[str] = set()
    for endpoint in endpoints:
        alone = len(by_name[f"{endpoint.method} {_anonymous(endpoint)}"]) == 1
        text = str(endpoint.template) if alone else endpoint.template.typed()
        name = f"{endpoint.method} {text}"
        if name in taken:  # by a rule with which this route could not be paired, because it fits others as well
            name += " (async)"
        taken.add(name)
        yield replace(endpoint, id=name)


def _anonymous(endpoint: Endpoint) -> str:
    parts = (
        "{}" if isinstance(part, Parameter) and part.kind != "path" else str(part) for part in endpoint.template.parts
    )
    return f"//{endpoint.template.host}" + "".join(parts)
