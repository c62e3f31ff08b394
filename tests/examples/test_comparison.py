from dataclasses import replace

import pytest

from tests.examples.comparison import (
    Answer,
    Rule,
    drawn_status,
    gzip_clock,
    modified_now,
    random_bytes,
    random_etag,
    random_nonce,
    random_uuid,
    reduce_answer,
)

JSON = ("Content-Type", "application/json")
ANSWER = Answer(200, (JSON, ("X-A", "1"), ("X-A", "2")), b'{"a": 1}')


@pytest.mark.parametrize(
    "other",
    [
        replace(ANSWER, body=b'{ "a":1 }\n'),
        replace(ANSWER, headers=(("x-a", "1"), ("x-a", "2"), ("content-type", "application/json"))),
        replace(ANSWER, headers=(*ANSWER.headers, ("Date", "now"), ("X-Served-By", "async"))),
    ],
    ids=["JSON laid out differently", "headers in another order and case", "headers of the hop"],
)
def test_answers_that_mean_the_same_reduce_to_the_same(other: Answer) -> None:
    assert reduce_answer(other) == reduce_answer(ANSWER)


@pytest.mark.parametrize(
    "other",
    [
        replace(ANSWER, status=201),
        replace(ANSWER, headers=(*ANSWER.headers, ("X-B", ""))),
        replace(ANSWER, headers=(JSON, ("X-A", "2"), ("X-A", "1"))),
        replace(ANSWER, headers=(JSON, ("X-A", "1, 2"))),
        replace(ANSWER, body=b'{"a": 1.0}'),
        replace(ANSWER, body=b'{"a": true}'),
        replace(ANSWER, body=b'{"a": "1"}'),
        replace(ANSWER, body=b""),
    ],
    ids=["status", "new header", "order of values", "joined values", "float", "bool", "string", "no body"],
)
def test_answers_that_differ_reduce_to_different_things(other: Answer) -> None:
    assert reduce_answer(other) != reduce_answer(ANSWER)


def test_nan_is_equal_to_itself() -> None:
    assert reduce_answer(replace(ANSWER, body=b"[NaN]")) == reduce_answer(replace(ANSWER, body=b"[NaN]"))


def test_order_of_allowed_methods_does_not_matter() -> None:
    answers = [Answer(405, (("Allow", allow),), b"") for allow in ("GET, HEAD", "HEAD, GET")]

    assert reduce_answer(answers[0]) == reduce_answer(answers[1])
    assert reduce_answer(answers[0]) != reduce_answer(Answer(405, (("Allow", "GET"),), b""))


UUIDS = b'"8b8e4e1c-7a55-4a0c-9d3c-3f0d3b1a2c4d"', b'"0c0f5a52-1d7e-4d0e-8f8e-5a7f6b1c2d3e"'
NONCES = [(("WWW-Authenticate", f'Digest nonce="{digit * 32}", qop="auth"'),) for digit in "af"]
ETAGS = [(("ETag", digit * 32),) for digit in "af"]
DATES = [(("Last-Modified", f"Fri, 20 Nov 2026 10:41:{second} GMT"),) for second in (58, 59)]


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        (random_uuid, replace(ANSWER, body=UUIDS[0]), replace(ANSWER, body=UUIDS[1])),
        (random_bytes, Answer(200, (), b"abc"), Answer(200, (), b"xyz")),
        (gzip_clock, Answer(200, (), b"\x1f\x8b\x08\x001234rest"), Answer(200, (), b"\x1f\x8b\x08\x005678rest")),
        (random_nonce, Answer(401, NONCES[0], b""), Answer(401, NONCES[1], b"")),
        (random_etag, Answer(200, ETAGS[0], b""), Answer(200, ETAGS[1], b"")),
        (modified_now, Answer(200, DATES[0], b""), Answer(200, DATES[1], b"")),
        (drawn_status(200, 500), Answer(500, (), b""), Answer(200, (), b"")),
    ],
    ids=["uuid", "bytes", "gzip", "nonce", "etag", "date", "status"],
)
def test_rule_makes_generated_values_equal(rule: Rule, one: Answer, other: Answer) -> None:
    assert one != other
    assert reduce_answer(one, [rule]) == reduce_answer(other, [rule])


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        (random_uuid, replace(ANSWER, body=UUIDS[0]), replace(ANSWER, body=b'"8b8e4e1c-7a55"')),
        (random_bytes, Answer(200, (), b"abc"), Answer(200, (), b"ab")),
        (gzip_clock, Answer(200, (), b"\x1f\x8b\x08\x001234rest"), Answer(200, (), b"\x1f\x8b\x08\x001234REST")),
        (random_nonce, Answer(401, NONCES[0], b""), Answer(401, (("WWW-Authenticate", "Digest"),), b"")),
        (random_etag, Answer(200, ETAGS[0], b""), Answer(200, (("ETag", '"x"'),), b"")),
        (modified_now, Answer(200, DATES[0], b""), Answer(200, (("Last-Modified", "yesterday"),), b"")),
        (drawn_status(200, 500), Answer(500, (), b""), Answer(404, (), b"")),
    ],
    ids=["uuid", "bytes", "gzip", "nonce", "etag", "date", "status"],
)
def test_rule_leaves_everything_else_different(rule: Rule, one: Answer, other: Answer) -> None:
    assert reduce_answer(one, [rule]) != reduce_answer(other, [rule])
