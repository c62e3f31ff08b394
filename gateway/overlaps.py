"""Paths that both sides would answer though they belong to different endpoints: who would take what from whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Literal

from werkzeug.exceptions import HTTPException
from werkzeug.routing import AnyConverter, BaseConverter, Map, RequestRedirect, Rule
from werkzeug.routing.converters import NumberConverter

from gateway.async_map import async_rule
from gateway.async_routes import ANY_METHOD
from gateway.endpoints import Endpoint
from gateway.legacy_routes import LegacyRoutes, LegacyRule, Outcome
from gateway.templates import Parameter, Template

Owner = Literal["legacy", "async"]

# Texts to try where both sides have a parameter: one that only a general rule takes comes first.
SAMPLES = (
    "sample-x9",
    "7",
    "7.5",
    "2024",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    *("x" * length for length in range(1, 41)),
)
SAMPLE_OF_KIND = {"int": "7", "float": "7.5", "uuid": "0f8fad5b-d9cb-469f-a165-70867728950e"}
# Starlette's convertors that take no slash; of an app's own one cannot tell.
ISOLATING_KINDS = {"str", *SAMPLE_OF_KIND}
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
    rules = list(legacy.rules())
    paired = {(endpoint.route, endpoint.rule.template) for endpoint in endpoints if endpoint.rule is not None}
    for endpoint in endpoints:
        if endpoint.rule is None and not endpoint.presumed and endpoint.route is not None:
            # A mounted app takes any method: those of a rule that it was paired with are endpoints of their own.
            others = (rule for rule in rules if (endpoint.route, rule.template) not in paired)
            yield from _overlaps_of(endpoint, legacy, others, _declared_owner(endpoint, declared))


def _declared_owner(endpoint: Endpoint, declared: Mapping[str, Owner]) -> Owner | None:
    for pattern, owner in declared.items():
        if pattern == endpoint.id or fnmatchcase(endpoint.id, pattern):
            return owner
    return None


def _overlaps_of(
    endpoint: Endpoint, legacy: LegacyRoutes, rules: Iterable[LegacyRule], owner: Owner | None
) -> Iterator[Overlap]:
    for rule in rules:
        method = _common_method(endpoint, rule)
        if method is None or endpoint.route is None:
            continue
        for path in islice(_common_paths(endpoint.route.template, rule), MAX_SAMPLES):
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


Segment = tuple[str | Parameter, ...]


def _common_paths(ours: Template, rule: LegacyRule) -> Iterator[str]:
    """Paths that both templates may match, ordinary ones first; the caller asks the real matchers about each."""
    theirs = _segments(rule.template)
    variants = [theirs]
    if rule.rule.is_branch:
        variants.append(theirs[:-1])  # `/branch/` redirects from `/branch`
    elif not rule.rule.strict_slashes:
        variants.append([*theirs, ()])
    for variant in variants:
        for texts in _align(_segments(ours), variant, rule):
            yield "/".join(texts)


def _segments(template: Template) -> list[Segment]:
    segments: list[list[str | Parameter]] = [[]]
    for part in template.parts:
        if isinstance(part, Parameter):
            segments[-1].append(part)
            continue
        first, *others = part.split("/")
        if first:
            segments[-1].append(first)
        segments += [[text] if text else [] for text in others]
    return [tuple(segment) for segment in segments]


def _align(ours: list[Segment], theirs: list[Segment], rule: LegacyRule) -> Iterator[list[str]]:
    if not ours or not theirs:
        if not ours and not theirs:
            yield []
        return
    for text in _common_texts(ours[0], theirs[0], rule):
        for tail in _align(ours[1:], theirs[1:], rule):
            yield [text, *tail]
    if _takes_slashes(ours[0], None):
        yield from _align_all(theirs, rule, lambda count: _align(ours[1:], theirs[count:], rule))
    elif _takes_slashes(theirs[0], rule):
        yield from _align_all(ours, None, lambda count: _align(ours[count:], theirs[1:], rule))


def _align_all(
    segments: list[Segment], rule: LegacyRule | None, align_rest: Callable[[int], Iterable[list[str]]]
) -> Iterator[list[str]]:
    """Two segments or more beside one parameter of the other side that takes all of them."""
    for count in range(2, len(segments) + 1):
        for sample in SAMPLES:
            texts = ["".join(_fill(segment, rule, sample)) for segment in segments[:count]]
            yield from ([*texts, *tail] for tail in align_rest(count))


def _takes_slashes(segment: Segment, rule: LegacyRule | None) -> bool:
    for part in segment:
        if isinstance(part, Parameter):
            converter = None if rule is None else rule.rule._converters[part.name]
            if not (part.kind in ISOLATING_KINDS if converter is None else converter.part_isolating):
                return True
    return False


def _common_texts(ours: Segment, theirs: Segment, rule: LegacyRule) -> Iterator[str]:
    fixed = [segment for segment in (ours, theirs) if not any(isinstance(part, Parameter) for part in segment)]
    if fixed:
        if len(fixed) == 1 or ours == theirs:
            yield "".join(str(part) for part in fixed[0])
        return
    seen = set()
    for sample in SAMPLES:
        for segment, side in ((ours, None), (theirs, rule)):
            text = "".join(_fill(segment, side, sample))
            if text not in seen:
                seen.add(text)
                yield text


def _fill(segment: Segment, rule: LegacyRule | None, sample: str) -> Iterator[str]:
    """A segment of the legacy rule, or (None) of the async side's route, with texts that its parameters may take."""
    for part in segment:
        if not isinstance(part, Parameter):
            yield part
        elif rule is None:
            yield SAMPLE_OF_KIND.get(part.kind, sample)
        else:
            yield _text_for(rule.rule._converters[part.name], SAMPLE_OF_KIND.get(part.kind, sample))


def _text_for(converter: BaseConverter, sample: str) -> str:
    if isinstance(converter, AnyConverter):
        return min(converter.items)
    if isinstance(converter, NumberConverter):
        bounds = [bound for bound in (converter.min, converter.max) if bound is not None]
        return converter.to_url(bounds[0] if bounds else float(sample))
    return sample
