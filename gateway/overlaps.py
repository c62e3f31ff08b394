"""Paths that both sides would answer though they belong to different endpoints: who would take what from whom."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect, Rule

from gateway.async_map import async_rule
from gateway.async_routes import ANY_METHOD
from gateway.common_paths import Segments, common_paths, route_segments, rule_segments
from gateway.endpoints import Endpoint
from gateway.legacy_routes import LegacyRoutes, LegacyRule, Outcome
from gateway.plan import Owner

# How many paths to try for a rule and a route; the first almost always tells.
MAX_SAMPLES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """An endpoint of the async side alone, and a legacy rule that answers `path` as well."""

    endpoint: Endpoint
    rule: LegacyRule
    path: str
    redirect: bool
    """Whether the legacy side answers it with a redirect, as to the path with its final slash."""
    owner: Owner | None
    """Who was declared to answer; None if nobody said."""

    def __str__(self) -> str:
        answer = "redirects from" if self.redirect else "answers"
        return (
            f"'{self.endpoint.id}' is only on the async side, but '{self.path}', which it matches, is a path that the "
            f"legacy rule '{self.rule.text}' {answer}. If the async side is meant to take it, declare "
            f'overlaps = {{ "{self.endpoint.id}" = "async" }}; to leave it with the legacy side, "legacy"'
        )


def find_overlaps(
    legacy: LegacyRoutes, endpoints: Sequence[Endpoint], declared: Mapping[str, Owner]
) -> Iterator[Overlap]:
    """Overlaps in which the async side's endpoint would take paths from the legacy side.

    Where the legacy rule is the more specific one (`/user/me` beside the async side's `/user/{name}`) nothing is
    taken: by Werkzeug's weights the legacy side keeps what it had, so that is no overlap.
    """
    rules = [(rule, rule_segments(rule)) for rule in legacy.rules()]
    paired = {(endpoint.route, endpoint.rule.template) for endpoint in endpoints if endpoint.rule is not None}
    for endpoint in endpoints:
        if endpoint.rule is None and not endpoint.presumed and endpoint.route is not None:
            others: Iterable[tuple[LegacyRule, list[Segments]]] = rules
            if endpoint.method == ANY_METHOD:
                # The methods of a rule that such a route was paired with are endpoints of their own.
                others = [(rule, forms) for rule, forms in rules if (endpoint.route, rule.template) not in paired]
            yield from _overlaps_of(endpoint, legacy, others, _declared_owner(endpoint, declared))


def _declared_owner(endpoint: Endpoint, declared: Mapping[str, Owner]) -> Owner | None:
    for pattern, owner in declared.items():
        if pattern == endpoint.id or fnmatchcase(endpoint.id, pattern):
            return owner
    return None


def _overlaps_of(
    endpoint: Endpoint, legacy: LegacyRoutes, rules: Iterable[tuple[LegacyRule, list[Segments]]], owner: Owner | None
) -> Iterator[Overlap]:
    assert endpoint.route is not None
    segments = route_segments(endpoint.route)
    for rule, forms in rules:
        method = _common_method(endpoint, rule)
        if method is None:
            continue
        for path in islice(common_paths(segments, forms), MAX_SAMPLES):
            outcome, matched, _ = legacy.match(method, path, "http", rule.sample_host)
            redirect = outcome is Outcome.REDIRECT and _redirects(rule, method, path)
            if (matched is rule.rule or redirect) and _async_wins(endpoint, rule, method, path):
                yield Overlap(endpoint, rule, path, redirect, owner)
                break


def _common_method(endpoint: Endpoint, rule: LegacyRule) -> str | None:
    if endpoint.method == ANY_METHOD:
        return min(rule.methods, default="OPTIONS")
    methods = rule.rule.methods
    return endpoint.method if methods is None or endpoint.method in methods else None


def _redirects(rule: LegacyRule, method: str, path: str) -> bool:
    """Whether it is for this rule that the legacy side redirects from the path."""
    if rule.redirects or any(other.defaults for other in rule.rule.map.iter_rules(rule.rule.endpoint)):
        return True
    try:
        _make_map(rule).bind("localhost").match(path, method)
    except RequestRedirect:
        return True
    except HTTPException:
        return False
    return False


def _async_wins(endpoint: Endpoint, rule: LegacyRule, method: str, path: str) -> bool:
    """Whether Werkzeug, were both rules in one map, would prefer the async side's. A tie counts as yes."""
    assert endpoint.route is not None
    ours = async_rule(endpoint.route, "async", methods=[method])
    try:
        winner, _ = _make_map(rule, ours).bind("localhost").match(path, method)
    except HTTPException:
        return False
    return bool(winner == "async")


def _make_map(rule: LegacyRule, *before: Rule) -> Map:
    """A map of a copy of the rule, without its host, and other rules before it."""
    changed = {"endpoint": "legacy", "host": None, "subdomain": None, "redirect_to": None, "alias": False}
    copy = type(rule.rule)(rule.prefix + rule.rule.rule, **{**rule.rule.get_empty_kwargs(), **changed})
    rules = rule.rule.map
    return Map([*before, copy], converters=rules.converters, merge_slashes=rules.merge_slashes)
