"""Raw requests to real servers, and what comes back on the connection."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Reply:
    version: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool = True
    """False if the connection ended before the body did."""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True)
class Connection:
    """What one connection brought: final answers, and whether it was still good for another request after them."""

    replies: tuple[Reply, ...]
    open: bool

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]


PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
PROBED = b"probed"


def converse(port: int, *packets: bytes, head: bool = False) -> Connection:
    """Send the packets and a request for `/probe`, which must answer `PROBED`; collect what is answered before that."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies: list[Reply] = []
        try:
            for packet in (*packets, PROBE):
                connection.sendall(packet)
        except ConnectionError:
            pass  # what was answered before can still be read
        with connection.makefile("rb") as stream:
            for reply in read_replies(stream, head=head):
                if reply.body == PROBED:
                    return Connection(tuple(replies), open=True)
                replies.append(reply)
    return Connection(tuple(replies), open=False)


def read_replies(stream: BinaryIO, *, head: bool = False) -> Iterator[Reply]:
    """Final answers until the connection ends; a reset ends it too. `head`: only the last one has a body."""
    try:
        while line := stream.readline():
            version, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
            status, _, reason = rest.partition(" ")
            headers = tuple(_read_headers(stream))
            if not status.startswith("1"):
                bodiless = status in ("204", "304") or (head and ("x-probe", "yes") not in headers)
                body, whole = (b"", True) if bodiless else _read_body(stream, dict(headers))
                yield Reply(version, int(status), reason, headers, body, whole)
    except ConnectionError:
        return


def _read_headers(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
        yield name.lower(), value


def _read_body(stream: BinaryIO, headers: dict[str, str]) -> tuple[bytes, bool]:
    if "content-length" in headers:
        body = _read_to_the_end(stream, int(headers["content-length"]))
        return body, len(body) == int(headers["content-length"])
    if "transfer-encoding" not in headers:
        return _read_to_the_end(stream), True
    body = b""
    while size := int(stream.readline() or b"-1", 16):
        if size < 0:
            return body, False
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body, True


def _read_to_the_end(stream: BinaryIO, limit: int = 2**40) -> bytes:
    """A body, or what there is of it. The probe behind it may meet a closed socket, and be answered by a reset."""
    body = bytearray()
    try:
        while len(body) < limit and (byte := stream.read(1)):
            body += byte
    except ConnectionError:
        pass
    return bytes(body)
