"""Path templates in one form, whichever framework's notation they were written in."""

import re
from collections.abc import Callable
from dataclasses import dataclass

# `<converter(arguments):variable>` in a Werkzeug rule, `{variable:convertor}` in a Starlette path.
_WERKZEUG = re.compile(
    r"<(?:(?P<kind>[a-zA-Z_][a-zA-Z0-9_]*)(?:\((?P<arguments>.*?)\))?:)?(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>"
)
_STARLETTE = re.compile(r"\{(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)(?::(?P<kind>[^{}]+))?\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A variable part of a path.

    `kind` is Starlette's word where both frameworks have the converter (`str`, `int`, `float`, `uuid`, `path`), else
    Werkzeug's (`any`, `hex`, …). `arguments` is the text between the converter's parentheses.
    """

    name: str
    kind: str = "str"
    arguments: str = ""

    def __str__(self) -> str:
        arguments = f"({self.arguments})" if self.arguments else ""
        return f"{{{self.name}:{self.kind}{arguments}}}"


@dataclass(frozen=True, slots=True)
class Template:
    """A path as its fixed texts and parameters, in order; `host` is "" unless the rule is bound to one."""

    parts: tuple[str | Parameter, ...]
    host: str = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(part for part in self.parts if isinstance(part, Parameter))

    @property
    def shape(self) -> tuple[str, ...]:
        """Equal for templates that differ in nothing but the names and kinds of their parameters."""
        return tuple("{}" if isinstance(part, Parameter) else part for part in self.parts)

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        return tuple((parameter.kind, parameter.arguments) for parameter in self.parameters)

    def __str__(self) -> str:
        """FastAPI's notation, as an endpoint's identity has it: only `path` needs its kind spelt out there."""
        return self._text(lambda p: str(p) if p.kind == "path" else f"{{{p.name}}}")

    def typed(self) -> str:
        """As `str()`, every kind spelt out: for templates that `str()` cannot tell apart."""
        return self._text(str)

    def _text(self, show: Callable[[Parameter], str]) -> str:
        path = "".join(show(part) if isinstance(part, Parameter) else _escape(part) for part in self.parts)
        return f"//{self.host}{path}" if self.host else path


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def parse_werkzeug(rule: str, host: str = "") -> Template:
    """`/user/<int:id>` as a template."""
    return Template(_parse(_WERKZEUG, rule, {"default": "str", "string": "str"}), host)


def parse_starlette(path: str) -> Template:
    """`/user/{id:int}` as a template."""
    return Template(_parse(_STARLETTE, path, {}))


def _parse(syntax: re.Pattern[str], text: str, kinds: dict[str, str]) -> tuple[str | Parameter, ...]:
    parts: list[str | Parameter] = []
    end = 0
    for match in syntax.finditer(text):
        if match.start() > end:
            parts.append(text[end : match.start()])
        groups = match.groupdict()
        kind = groups["kind"] or "str"
        parts.append(Parameter(groups["name"], kinds.get(kind, kind), groups.get("arguments") or ""))
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return tuple(parts)
