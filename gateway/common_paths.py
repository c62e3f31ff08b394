"""Examples of paths that a legacy rule and an async route may both match, for the real matchers to judge."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from werkzeug.routing import AnyConverter
from werkzeug.routing.converters import NumberConverter

from gateway.async_routes import AsyncRoute
from gateway.legacy_routes import LegacyRule
from gateway.templates import Parameter, Template

# Texts to try for a parameter: one that only a general rule takes comes first.
SAMPLES = (
    "sample-x9",
    "7",
    "7.5",
    "2024",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    *("x" * length for length in range(1, 41)),
)
# Starlette's convertors that take no slash; of an app's own one cannot tell.
ISOLATING_KINDS = ("str", "int", "float", "uuid")


@dataclass(frozen=True)
class Segment:
    """What stands between two slashes of a template, with its side's converters by parameter."""

    parts: tuple[str | Parameter, ...]
    converters: Mapping[str, Any]

    @cached_property
    def takes_slashes(self) -> bool:
        return any(self._spans(part) for part in self.parts if isinstance(part, Parameter))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Texts that it matches, as far as its regular expression tells."""
        samples = SAMPLES if any(isinstance(part, Parameter) for part in self.parts) else ("",)
        texts = ("".join(self._fill(part, sample) for part in self.parts) for sample in samples)
        return tuple(dict.fromkeys(text for text in texts if self.matches(text)))

    def matches(self, text: str) -> bool:
        return self._pattern.fullmatch(text) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        patterns = (re.escape(part) if isinstance(part, str) else f"(?:{self._regex(part)})" for part in self.parts)
        return re.compile("".join(patterns))

    def _regex(self, parameter: Parameter) -> str:
        converter = self.converters.get(parameter.name)
        return ".*" if converter is None else str(converter.regex)

    def _spans(self, parameter: Parameter) -> bool:
        isolating = getattr(self.converters.get(parameter.name), "part_isolating", None)
        return not isolating if isolating is not None else parameter.kind not in ISOLATING_KINDS

    def _fill(self, part: str | Parameter, sample: str) -> str:
        if isinstance(part, str):
            return part
        converter = self.converters.get(part.name)
        if isinstance(converter, AnyConverter):
            return min(converter.items)
        if isinstance(converter, NumberConverter):
            bounds = [bound for bound in (converter.min, converter.max) if bound is not None]
            return converter.to_url(bounds[0] if bounds else 7)
        return sample


Segments = list[Segment]


def route_segments(route: AsyncRoute) -> Segments:
    return _segments(route.template, route.convertors)


def rule_segments(rule: LegacyRule) -> list[Segments]:
    """The rule, and its other form with or without the final slash where Flask redirects from that or answers it."""
    segments = _segments(rule.template, rule.rule._converters)
    if rule.rule.is_branch:
        return [segments, segments[:-1]]
    return [segments] if rule.rule.strict_slashes else [segments, [*segments, Segment((), {})]]


def common_paths(route: Segments, rule: list[Segments]) -> Iterator[str]:
    """Paths that both may match, ordinary ones first."""
    return ("/".join(texts) for form in rule for texts in _align(route, form))


def _segments(template: Template, converters: Mapping[str, Any]) -> Segments:
    segments: list[list[str | Parameter]] = [[]]
    for part in template.parts:
        if isinstance(part, Parameter):
            segments[-1].append(part)
            continue
        first, *others = part.split("/")
        if first:
            segments[-1].append(first)
        segments += [[text] if text else [] for text in others]
    return [Segment(tuple(parts), converters) for parts in segments]


def _align(ours: Segments, theirs: Segments) -> Iterator[list[str]]:
    if not ours or not theirs:
        if not ours and not theirs:
            yield []
        return
    for text in dict.fromkeys(chain(ours[0].texts, theirs[0].texts)):
        if ours[0].matches(text) and theirs[0].matches(text):
            for tail in _align(ours[1:], theirs[1:]):
                yield [text, *tail]
    # A parameter that takes slashes stands for two or more segments of the other side.
    if ours[0].takes_slashes:
        for count in range(2, len(theirs) + 1):
            yield from _join(theirs[:count], _align(ours[1:], theirs[count:]))
    if theirs[0].takes_slashes:
        for count in range(2, len(ours) + 1):
            yield from _join(ours[:count], _align(ours[count:], theirs[1:]))


def _join(segments: Segments, tails: Iterator[list[str]]) -> Iterator[list[str]]:
    if all(segment.texts for segment in segments):
        head = [segment.texts[0] for segment in segments]
        yield from ([*head, *tail] for tail in tails)
