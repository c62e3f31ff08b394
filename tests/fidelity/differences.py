"""Where the gateway answers otherwise than gunicorn, and why: all that generated requests may show.

docs/fidelity.md has these and what no such request can show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fidelity.programs import Program, Step
from tests.fidelity.raw import Answer, Exchange


@dataclass(frozen=True)
class Answered:
    """One request for `run_program`, and what became of it under gunicorn and under the gateway."""

    method: str
    program: Program
    truth: Exchange
    mounted: Exchange

    def steps(self, *names: str) -> Iterator[Step]:
        return (step for step in (*self.program.call, *self.program.body) if step[0] in names)

    @property
    def statuses(self) -> list[str]:
        return [step[1] for step in self.steps("start", "restart")]

    @property
    def gateway_refused(self) -> bool:
        answer = self.mounted.answer
        return answer is not None and answer.status == 500 and self.mounted.connection == "closed"


@dataclass(frozen=True)
class Difference:
    case: str
    reason: str
    explains: Callable[[Answered], bool]


def _without(answer: Answer | None, *names: str) -> tuple[object, ...]:
    if answer is None:
        return ()
    headers = {name: values for name, values in answer.headers.items() if name not in names}
    return answer.status, headers, answer.body, answer.complete


def _is_error_page_for_head(answered: Answered) -> bool:
    same = answered.truth.answer == answered.mounted.answer
    return same and answered.method == "HEAD" and answered.gateway_refused


def _has_no_status(answered: Answered) -> bool:
    truth = answered.truth.answer
    return answered.gateway_refused and truth is not None and truth.status == 0


def _has_headers_of_what_was_replaced(answered: Answered) -> bool:
    truth, mounted = answered.truth.answer, answered.mounted.answer
    if truth is None or mounted is None or len(answered.statuses) < 2:
        return False
    more = set(truth.headers) >= set(mounted.headers)
    return more and all(values[-1:] == mounted.headers.get(name, values)[-1:] for name, values in truth.headers.items())


DIFFERENCES = (
    Difference(
        "an error page for HEAD",
        "gunicorn sends its body, which the client takes for the beginning of the next answer",
        _is_error_page_for_head,
    ),
    Difference(
        "an app that never called start_response",
        "gunicorn answers 'HTTP/1.1 None', if the request is HEAD or ends its connection",
        _has_no_status,
    ),
    Difference(
        "headers that were replaced with exc_info",
        "gunicorn sends the old ones too, against PEP 3333",
        _has_headers_of_what_was_replaced,
    ),
    Difference(
        "a Content-Length in a 304",
        "uvicorn's protocol would wait for a body of that length",
        lambda answered: (
            _without(answered.truth.answer, "content-length") == _without(answered.mounted.answer, "content-length")
            and answered.mounted.answer is not None
            and answered.mounted.answer.status == 304
        ),
    ),
    Difference(
        "an item that is no bytes",
        "gunicorn has sent the headers by the time it looks",
        lambda answered: answered.gateway_refused and any(answered.steps("oddity")),
    ),
)


def explain(answered: Answered) -> Difference | None:
    """The difference that this is, or None for one that nobody knows."""
    return next((difference for difference in DIFFERENCES if difference.explains(answered)), None)
