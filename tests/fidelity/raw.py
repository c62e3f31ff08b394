"""A client that sends exactly the bytes that it is given, and tells all that came back."""

import re
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.examples.comparison import PER_HOP_HEADERS

TIMEOUT_S = 10.0
HOST = "fidelity.test"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back for one request. `complete`: whether its framing said that this is all of it."""

    status: int
    """0 if there is no telling."""
    headers: dict[str, list[str]]
    """By lower-case name, without those that the server says for itself."""
    body: bytes
    complete: bool
    interim: tuple[int, ...] = ()
    reason: str = ""
    raw_headers: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Exchange:
    """An answer, and what the server did with the connection after it.

    `open`, `closed`, `reset`, or `confused` if more came than an answer.
    """

    answer: Answer | None
    connection: str


def build(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    chunks: Iterable[bytes] | None = None,
) -> bytes:
    """A request with a `body` of a Content-Length, or in `chunks`. In `headers` a Host replaces the usual one."""
    given = list(headers)
    lines = [] if any(name.lower() == "host" for name, _ in given) else [("Host", HOST)]
    lines += given
    if chunks is not None:
        lines.append(("Transfer-Encoding", "chunked"))
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    elif body is not None:
        lines.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return head.encode("latin-1") + (body or b"")


class Connection:
    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Each piece in a packet of its own, if the peer reads that fast."""
        for piece in pieces:
            self.socket.sendall(piece)

    def send_as_long_as_it_listens(self, *pieces: bytes) -> None:
        """As `send`, but to a server that may have answered and hung up by then."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send(*pieces)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Leave with a reset, as a process that is killed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for(self, data: bytes) -> None:
        """Returns when `data` has arrived; it stays unread."""
        while data not in self._received:
            if not self._receive():
                raise ConnectionResetError(f"ended before {data!r}: {self._received!r}")

    def read_answer(self, method: str = "GET") -> Answer | None:
        """The next final answer; None if the connection ends before its head does. Raises TimeoutError."""
        interim: list[int] = []
        while True:
            with suppress(ConnectionResetError):
                while b"\r\n\r\n" not in self._received and self._receive():
                    pass
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            if not separator:
                return None
            self._received = rest
            status_line, *lines = head.decode("latin-1").split("\r\n")
            match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) ?(.*)", status_line)
            if match is None:
                return Answer(0, {}, self.read_all(), complete=False, reason=status_line)
            if not match[1].startswith("1"):
                break
            interim.append(int(match[1]))
        status, fields = int(match[1]), [_split(line) for line in lines]
        body, complete = self._read_body(method, status, fields)
        headers: dict[str, list[str]] = {}
        for name, value in fields:
            if name.lower() not in PER_HOP_HEADERS:
                headers.setdefault(name.lower(), []).append(value)
        if "allow" in headers:  # a set, which Werkzeug writes in the order of hashes
            headers["allow"] = sorted(", ".join(headers["allow"]).split(", "))
        return Answer(status, headers, body, complete, tuple(interim), match[2], tuple(fields))

    def _read_body(self, method: str, status: int, fields: list[tuple[str, str]]) -> tuple[bytes, bool]:
        named = {name.lower(): value for name, value in fields}
        if method == "HEAD" or status in (204, 304):
            return b"", True
        if "transfer-encoding" in named:
            return self._read_chunks()
        if "content-length" not in named:
            return self.read_all(), True
        length = int(named["content-length"])
        complete = self._have(length)
        body, self._received = self._received[:length], self._received[length:]
        return body, complete

    def _read_chunks(self) -> tuple[bytes, bool]:
        parts = []
        while True:
            end = self._find_line()
            if end < 0:
                break
            size = int(self._received[:end], 16)
            self._received = self._received[end + 2 :]
            complete = self._have(size + 2)
            parts.append(self._received[:size])
            self._received = self._received[size + 2 :]
            if not complete or size == 0:
                return b"".join(parts), complete
        return b"".join(parts), False

    def _find_line(self) -> int:
        with suppress(ConnectionResetError):
            while (end := self._received.find(b"\r\n")) < 0 and self._receive():
                pass
        return end

    def _have(self, length: int) -> bool:
        with suppress(ConnectionResetError):
            while len(self._received) < length and self._receive():
                pass
        return len(self._received) >= length

    def read_all(self) -> bytes:
        """What comes until the connection ends, in whatever way."""
        with suppress(ConnectionResetError):
            while self._receive():
                pass
        data, self._received = self._received, b""
        return data

    def state(self, answer: Answer) -> str:
        """What the server did with the connection, now that this answer was read: see `Exchange`."""
        announced = any(name.lower() == "connection" and value == "close" for name, value in answer.raw_headers)
        try:
            if announced or not answer.complete:
                return "confused" if self._received or self._receive() else "closed"
        except ConnectionResetError:
            return "reset"
        try:
            self.send(build("GET", "/"))
            next_answer = self.read_answer()
        except (ConnectionResetError, BrokenPipeError):
            next_answer = None  # by that request, which came too late
        if next_answer is None:
            return "closed"
        return "open" if next_answer.body == b"ok" else "confused"

    def _receive(self) -> bool:
        data = self.socket.recv(_BLOCK_BYTES)
        self._received += data
        return bool(data)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")
