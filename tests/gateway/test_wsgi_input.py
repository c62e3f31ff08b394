import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wsgi_input import ClientGoneError, Input, empty_input

TIMEOUT_S = 5.0


def fed(*chunks: bytes, ended: bool = True) -> Input:
    body = Input()
    for chunk in chunks:
        body.feed(chunk, last=False)
    if ended:
        body.feed(b"", last=True)
    return body


class Reader(threading.Thread):
    """Reads in a thread of its own; `result` is what came of it, an exception included."""

    def __init__(self, read: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self._result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._read()
        except Exception as exc:
            self._result = exc

    @property
    def result(self) -> Any:
        self.join(TIMEOUT_S)
        assert not self.is_alive()
        return self._result


# --- as any file -----------------------------------------------------------------------------------------------------

SIZES = st.none() | st.integers(-2, 40)
CALLS = st.lists(st.tuples(st.sampled_from(["read", "readline", "next", "readlines"]), SIZES), max_size=12)
CHUNKS = st.lists(st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bcd", b"e" * 30]), max_size=6).map(b"".join))


def perform(file: Any, name: str, size: int | None) -> Any:
    if name == "next":
        return next(file, None)
    if name == "readlines":
        return file.readlines()
    return getattr(file, name)(size)


@settings(deadline=None, max_examples=400, derandomize=True, database=None)
@given(CHUNKS, CALLS)
def test_input_reads_as_a_file_of_the_same_bytes(chunks: list[bytes], calls: list[tuple[str, int | None]]) -> None:
    body, file = Input(), io.BytesIO(b"".join(chunks))

    def feed() -> None:
        for chunk in chunks:
            body.feed(chunk, last=False)
        body.feed(b"", last=True)

    feeder = threading.Thread(target=feed)
    feeder.start()
    for name, size in calls:
        assert perform(body, name, size) == perform(file, name, size)
    assert body.read() == file.read()
    assert not body.has_more
    feeder.join()


@pytest.mark.parametrize("hint", [-1, None, 0, 1, 5, 100])
def test_readlines_returns_all_lines_whatever_the_hint(hint: int | None) -> None:
    """As gunicorn's; an app may have come to count on it."""
    assert fed(b"a\nb", b"c\nd").readlines(hint) == [b"a\n", b"bc\n", b"d"]


@pytest.mark.parametrize("method", ["read", "readline", "readlines"])
def test_size_that_is_no_number_is_refused(method: str) -> None:
    with pytest.raises(TypeError, match="must be an integer, not str"):
        getattr(fed(b"a"), method)("1")


def test_large_chunk_of_short_lines_is_not_copied_for_each_of_them() -> None:
    body = fed(b"\n" * 1_000_000)

    reader = Reader(lambda: sum(1 for _ in body))

    assert reader.result == 1_000_000


def test_empty_input_has_ended() -> None:
    body = empty_input()

    assert not body.has_more
    assert (body.read(), body.read(1), body.readline(), body.readlines(), list(body)) == (b"", b"", b"", [], [])


# --- while it arrives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [lambda body: body.read(4), lambda body: body.readline(), lambda body: next(body)])
def test_read_waits_for_what_it_needs(read: Callable[[Input], bytes]) -> None:
    body = fed(b"ab", ended=False)
    reader = Reader(lambda: read(body))

    body.feed(b"c", last=False)
    assert reader.is_alive()
    body.feed(b"\nd", last=False)

    assert reader.result == b"abc\n"
    assert body.read(1) == b"d"


def test_read_of_what_is_there_does_not_wait() -> None:
    body = fed(b"ab", ended=False)

    assert (body.read(1), body.read(0), body.readline(1), body.readline(0)) == (b"a", b"", b"b", b"")


def test_what_is_not_begun_is_counted_as_unread() -> None:
    body = fed(b"abc", b"de", ended=False)
    assert body.unread_bytes == 5

    body.read(1)

    assert body.unread_bytes == 2


def test_reader_is_asked_back_when_something_was_taken() -> None:
    unread: list[int] = []
    body = Input(lambda: unread.append(body.unread_bytes))
    body.feed(b"abc", last=False)
    body.feed(b"de", last=True)

    body.read()

    assert unread == [2, 0]


def test_consumed_chunk_is_let_go() -> None:
    class Chunk(bytes):
        deleted = False

        def __del__(self) -> None:
            Chunk.deleted = True

    body = Input()
    body.feed(Chunk(b"abc"), last=False)

    assert body.read(3) == b"abc"

    assert Chunk.deleted


# --- when it breaks off ----------------------------------------------------------------------------------------------

READS: list[Callable[[Input], Any]] = [
    lambda body: body.read(),
    lambda body: body.read(10),
    lambda body: body.readline(),
    lambda body: body.readlines(),
    lambda body: list(body),
]


@pytest.mark.parametrize("read", READS)
def test_body_that_breaks_off_is_never_taken_for_complete(read: Callable[[Input], Any]) -> None:
    body = fed(b"abc", ended=False)
    body.fail("the client left")

    with pytest.raises(ConnectionResetError, match="the client left"):
        read(body)


@pytest.mark.parametrize("read", READS)
def test_reader_that_waits_learns_that_the_body_broke_off(read: Callable[[Input], Any]) -> None:
    body = fed(b"abc", ended=False)
    reader = Reader(lambda: read(body))

    body.fail("the client left")

    assert isinstance(reader.result, ClientGoneError)


def test_what_arrived_can_be_read_before_the_body_is_found_broken() -> None:
    body = fed(b"abc", ended=False)
    body.fail("the client left")

    assert body.read(3) == b"abc"
    for _ in range(2):
        with pytest.raises(ClientGoneError):
            body.read(1)


def test_client_that_leaves_after_the_body_is_none_of_the_readers_business() -> None:
    body = fed(b"abc")
    body.fail("the client left")

    assert body.read() == b"abc"
    assert body.read() == b""
