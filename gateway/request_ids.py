"""Request ids: taken over from a trusted proxy, else made here."""

import re
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import count

# Long enough for every tracing system's ids, short enough for a log line.
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
MAX_REMEMBERED_PEERS = 1024


class RequestIds:
    """Ids are unique to the request: a random prefix for the process and a running number."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self._prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self._peers: dict[str, bool] = {}

    def of(self, given: bytes | None, client: Sequence[object] | None) -> bytes:
        """The id for a request that came with the header `given` from `client` (host, port)."""
        if given and client and self._is_trusted(str(client[0])) and _ACCEPTABLE.fullmatch(given):
            return given
        return b"%s-%x" % (self._prefix.encode(), next(self._numbers))

    def _is_trusted(self, peer: str) -> bool:
        if not self._trusted:
            return False
        if peer not in self._peers:
            if len(self._peers) >= MAX_REMEMBERED_PEERS:
                self._peers.clear()
            try:
                address = ip_address(peer)
            except ValueError:
                return False
            self._peers[peer] = any(address in network for network in self._trusted)
        return self._peers[peer]
