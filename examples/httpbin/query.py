"""Pairs of names and values as Werkzeug parses them, and the shapes in which httpbin shows them."""

from collections.abc import Iterable
from urllib.parse import parse_qsl

from examples.httpbin.urls import KEEP_QUOTED

Pairs = list[tuple[str, str]]


def parse_pairs(encoded: str) -> Pairs:
    return parse_qsl(encoded, keep_blank_values=True, errors=KEEP_QUOTED)


def group_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """All values of each name, in the order of each name's first appearance."""
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def first_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: values[0] for name, values in group_pairs(pairs).items()}


def flatten_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """A lone value as a string, several values as a list."""
    return {name: values[0] if len(values) == 1 else values for name, values in group_pairs(pairs).items()}


def find_option(pairs: Pairs, name: str) -> str | None:
    """The first value of a name in any letter case."""
    return next((value for key, value in first_values(pairs).items() if key.lower() == name), None)
