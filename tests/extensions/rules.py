"""Which values of an answer are generated: each rule replaces one that has the form it should have."""

import re
from dataclasses import replace

from tests.examples.comparison import Answer, Rule


def in_header(name: str, pattern: str, placeholder: str) -> Rule:
    def rule(answer: Answer) -> Answer:
        headers = (
            (key, re.sub(pattern, placeholder, value) if key.lower() == name else value)
            for key, value in answer.headers
        )
        return replace(answer, headers=tuple(headers))

    return rule


def in_body(pattern: bytes, placeholder: bytes) -> Rule:
    def rule(answer: Answer) -> Answer:
        return replace(answer, body=re.sub(pattern, placeholder, answer.body))

    return rule


def body_length(answer: Answer) -> Answer:
    """Of a body in which generated values differ in length. To be the first rule."""
    return in_header("content-length", f"^{len(answer.body)}$", "<length>")(answer)


# itsdangerous: payload.timestamp.signature, of which the payload is compared.
signing_time = in_header("set-cookie", r"(?<==)(\.?[\w-]+)\.[\w-]{6}\.[\w-]{27}(?=;|$)", r"\1.<time>.<signature>")
expiry_date = in_header("set-cookie", r"Expires=\w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT", "Expires=<date>")
# Flask-Session: 32 random bytes.
session_id = in_header("set-cookie", r"session=[\w-]{43}(?=;)", "session=<id>")
