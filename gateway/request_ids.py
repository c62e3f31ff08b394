"""Request ids: taken over from a trusted proxy, else made here."""

import re
import secrets
from collections.abc import Sequence
from itertools import count

from starlette.types import Scope

from gateway.edge import Peers, Proxy

# Long enough for every tracing system's ids, short enough for a log line.
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestIds:
    """Ids are unique to the request: a random prefix for the process and a running number."""

    def __init__(self, trusted: Sequence[Proxy]) -> None:
        self._peers = Peers(trusted)
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = count(1)

    def of(self, given: bytes | None, scope: Scope) -> bytes:
        """The id for a request that came with `given` in its header."""
        if given and self._peers.trust(scope) and _ACCEPTABLE.fullmatch(given):
            return given
        return b"%s-%x" % (self._prefix, next(self._numbers))
