"""`wsgi.input`: a request body that arrives on the event loop and is read in a thread."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from a2wsgi.wsgi import Body


class ClientGoneError(ConnectionResetError):
    """The client left, or the server stopped listening: there is nobody to write to or read from."""


class Input(Body):
    """A file-like object for the app's thread, filled by the loop's `feed`; blocking, as a socket is.

    A body that breaks off raises ClientGoneError from every read that needs what is missing: it is never taken for a
    complete one. What has arrived can be read before that.
    """

    def __init__(self, on_read: Callable[[], None] = lambda: None) -> None:
        """`on_read` is called in the reading thread when something was taken out."""
        # Not a2wsgi's __init__: its buffer and its way to the loop, one round trip for each message, are replaced.
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._failure: str | None = None
        self._on_read = on_read
        self._changed = threading.Condition(threading.Lock())
        # The reading thread's own: the chunk that it is at, and how far.
        self._chunk = b""
        self._position = 0

    @property
    def unread_bytes(self) -> int:
        """What has been fed in chunks that no read has come to."""
        return self._bytes

    def feed(self, chunk: bytes, *, last: bool) -> None:
        with self._changed:
            if chunk:
                self._chunks.append(chunk)
                self._bytes += len(chunk)
            self._ended = self._ended or last
            self._changed.notify()

    def fail(self, reason: str) -> None:
        """Nothing more will come."""
        with self._changed:
            if not self._ended:
                self._failure = reason
            self._changed.notify()

    @property
    def has_more(self) -> bool:
        return not self._ended or bool(self._chunks) or self._position < len(self._chunk)

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end of the body; everything for None or a negative size."""
        wanted = _limit(size)
        parts: list[bytes] = []
        while wanted != 0 and self._advance():
            end = len(self._chunk) if wanted is None else self._position + wanted
            parts.append(self._take(end))
            if wanted is not None:
                wanted -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, limit: int | None = -1) -> bytes:
        """Up to and with the next newline, but at most `limit` bytes."""
        wanted = _limit(limit)
        parts: list[bytes] = []
        while wanted != 0 and self._advance():
            end = self._chunk.find(b"\n", self._position) + 1 or len(self._chunk)
            if wanted is not None:
                end = min(end, self._position + wanted)
                wanted -= end - self._position
            parts.append(self._take(end))
            if parts[-1].endswith(b"\n"):
                break
        return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All remaining lines, whatever the `hint`: PEP 3333 leaves that open, and gunicorn's apps may count on it."""
        _limit(hint)
        return list(self)

    def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _take(self, end: int) -> bytes:
        # Not by putting the rest back: a long chunk of short lines would be copied once for each of them.
        part = self._chunk[self._position : end]
        self._position += len(part)
        if self._position == len(self._chunk):
            self._chunk, self._position = b"", 0  # the app may want its memory back
        return part

    def _advance(self) -> bool:
        """Have something to take; False at the end of the body."""
        if self._position < len(self._chunk):
            return True
        with self._changed:
            while not self._chunks:
                if self._failure is not None:
                    raise ClientGoneError(self._failure)
                if self._ended:
                    return False
                self._changed.wait()
            self._chunk = self._chunks.popleft()
            self._bytes -= len(self._chunk)
        self._position = 0
        self._on_read()
        return True


def _limit(size: int | None) -> int | None:
    if size is None:
        return None
    if not isinstance(size, int):
        raise TypeError(f"size must be an integer, not {type(size).__name__}")
    return None if size < 0 else size


def empty_input() -> Input:
    """The input of a request without a body."""
    body = Input()
    body.feed(b"", last=True)
    return body
