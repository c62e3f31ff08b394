"""Who is in the canary: sticky per caller, the same in every worker, and only ever growing with the percentage."""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Self

from gateway.errors import SettingsError

Headers = Iterable[tuple[bytes, bytes]]

# A session cookie is the client's text: this bounds what it can make the gateway decompress and parse.
MAX_SESSION_BYTES = 64 * 1024
# itsdangerous' TimestampSigner: payload, time (four bytes until 2106), signature (20 bytes or more). A JSON Web Token
# has three parts as well, the first of which is the same for everybody.
_SIGNED = re.compile(r"(?P<payload>.+)\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}")


@dataclass(frozen=True, slots=True)
class CallerKey:
    """One way to recognise a caller: `cookie:NAME`, `cookie:NAME#FIELD`, `header:NAME` or `address`.

    `cookie:session#_user_id` reads a field of the session that Flask keeps in its signed cookie. The signature is not
    checked: it decides nothing but which side answers. Without a field a signed session counts by its contents,
    leaving out the timestamp and signature, which change whenever Flask sends the cookie again.
    """

    kind: Literal["cookie", "header", "address"]
    name: str = ""
    field: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, _, rest = text.partition(":")
        name, _, field = rest.partition("#")
        if kind == "address" and not rest:
            return cls("address")
        if kind == "header" and name and not field:
            return cls("header", name.lower())
        if kind == "cookie" and name:
            return cls("cookie", name, field)
        raise SettingsError(
            f"'{text}' is no caller key: write cookie:NAME, cookie:NAME#FIELD (Flask session), header:NAME or address"
        )

    def find(self, headers: Headers, address: str) -> str | None:
        if self.kind == "address":
            return address
        if self.kind == "header":
            return next((value.decode("latin-1") for name, value in headers if name == self.name.encode()), None)
        value = find_cookie(headers, self.name)
        if value is None:
            return None
        return _session_field(value, self.field) if self.field else _stable_part(value)


def caller(keys: Sequence[CallerKey], headers: Headers, address: str) -> str:
    """The first of `keys` that the request has, else the client's address."""
    for key in keys:
        value = key.find(headers, address)
        if value:
            return value
    return address


def in_canary(caller: str, percent: float) -> bool:
    """Whether a caller belongs to the first `percent` of all callers.

    A caller has one fixed place between 0 and 100, for all endpoints: raising the percentage only adds callers, and
    those who are in the canary of two endpoints are the same people, so what they see fits together.
    """
    place = int.from_bytes(blake2b(caller.encode("utf-8", "surrogatepass"), digest_size=8, person=b"canary").digest())
    return place * 100 < percent * 2**64


def find_cookie(headers: Headers, name: str) -> str | None:
    """The first cookie of that name, as Werkzeug counts."""
    prefix = name.encode() + b"="
    for header, value in headers:
        if header == b"cookie":
            for part in value.split(b";"):
                if part.strip().startswith(prefix):
                    return part.strip()[len(prefix) :].strip(b'"').decode("latin-1")
    return None


def _stable_part(value: str) -> str:
    signed = _SIGNED.fullmatch(value)
    return signed["payload"] if signed else value


def _session_field(value: str, field: str) -> str | None:
    """A field of a session as itsdangerous' URLSafeTimedSerializer writes it: `[.]base64(payload).time.signature`."""
    payload = _stable_part(value)
    compressed = payload.startswith(".")
    text = payload.removeprefix(".")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if compressed:
            data = zlib.decompressobj().decompress(data, MAX_SESSION_BYTES)
        session = json.loads(data)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return None
    found = session.get(field) if isinstance(session, dict) else None
    return None if found is None else str(found)
