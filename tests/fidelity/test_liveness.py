"""Clients that leave, responses that fail, servers that stop: no thread stays behind (hazards 1-6, 9, 66)."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest

from tests.fidelity.bridges import either_bridge, fails
from tests.fidelity.programs import EXIT, FAIL, Program, items, start
from tests.fidelity.raw import Connection, build
from tests.fidelity.servers import (
    THREADS,
    Server,
    eventually,
    is_running,
    killed_at_the_end,
    new_key,
    serve_gateway,
)

CLOSED_WITHIN_S = 2.0
AT_ONCE_S = 1.0
# Of /stream when its client leaves. (The first teardown is the view's: its generator has another context.)
CLOSED = ["teardown", "start", "GeneratorExit", "finally", "teardown", "closed"]


def stream(key: str, **arguments: int) -> str:
    return f"/stream?id={key}" + "".join(f"&{name}={value}" for name, value in arguments.items())


# Would go on for 4 s, so that even a server that never notices is itself again afterwards.
EVENTS_FOR_4_S = {"chunks": 200, "pause_ms": 20}


@pytest.fixture(scope="module")
def expendable_stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For this module alone: in the end it will not answer any more."""
    with serve_gateway(tmp_path_factory.mktemp("stock"), bridge="a2wsgi") as server, killed_at_the_end(server):
        yield server


def assert_answers_at_once(server: Server) -> None:
    began = time.monotonic()
    assert server.get("/") == "ok"
    assert time.monotonic() - began < AT_ONCE_S


# --- the client leaves -----------------------------------------------------------------------------------------------


def test_truth_when_client_leaves_stream_is_closed(gunicorn: Server) -> None:
    key = new_key()
    with gunicorn.connect() as connection:
        connection.send(build("GET", stream(key, **EVENTS_FOR_4_S)))
        connection.wait_for(b"aaaa")

    assert gunicorn.wait_for(key, "closed", CLOSED_WITHIN_S) == CLOSED


@either_bridge("expendable_stock")
def test_clients_that_leave_streams_ten_times_over_leave_every_thread_free(mounted: Server) -> None:
    for _ in range(10):
        keys = [new_key() for _ in range(THREADS)]
        with ExitStack() as stack:
            connections = [stack.enter_context(mounted.connect()) for _ in keys]
            for key, connection in zip(keys, connections, strict=True):
                connection.send(build("GET", stream(key, **EVENTS_FOR_4_S)))
            for connection in connections:
                connection.wait_for(b"aaaa")
            for connection in connections[::2]:
                connection.abort()
        began = time.monotonic()
        assert_answers_at_once(mounted)
        ends = [mounted.wait_for(key, "closed", CLOSED_WITHIN_S) for key in keys]
        assert time.monotonic() - began < CLOSED_WITHIN_S
        assert ends == [CLOSED] * THREADS
    assert mounted.active() == 0
    mounted.assert_all_threads_are_free()


@either_bridge("expendable_stock")
def test_download_that_is_abandoned_stops_being_made(gunicorn: Server, mounted: Server) -> None:
    blocks, size = 3200, 64 * 1024  # 200 MB
    made = {}
    for server in (gunicorn, mounted):
        key = new_key()
        with server.connect() as connection:
            connection.send(build("GET", stream(key, chunks=blocks, size=size)))
            connection.wait_for(b"aaaa")
        assert server.wait_for(key, "closed") == CLOSED
        made[server.name] = server.get(f"/made/{key}")

    # What fits into the socket's buffers, which the kernel sizes as it likes, and into the gateway's own.
    assert [name for name, number in made.items() if number >= blocks / 10] == []


def test_client_that_leaves_a_stream_with_a_large_body_unread_is_noticed(gateway: Server) -> None:
    """To learn that it has left, its body must be read; but not without limit, and not at the app's expense."""
    key, memory = new_key(), gateway.memory()
    with gateway.connect() as connection:
        connection.send(build("POST", stream(key, pause_ms=20), [("Content-Length", str(2**32))]))
        connection.wait_for(b"aaaa")
        connection.socket.settimeout(0.3)
        with suppress(TimeoutError):
            for _ in range(1000):
                connection.send(bytes(1024 * 1024))
        connection.abort()

    assert gateway.wait_for(key, "closed") == CLOSED
    assert memory.growth_bytes() < 64 * 1024 * 1024


def test_client_that_leaves_while_its_view_computes_does_not_stop_it(gunicorn: Server, gateway: Server) -> None:
    key = new_key()
    for server in (gunicorn, gateway):
        with server.connect() as connection:
            connection.send(build("POST", f"/compute?id={key}&ms=200", body=b"x"))
            server.wait_for(key, "began")

    expected = ["began", "done", "teardown"]
    assert gateway.wait_for(key, "teardown") == gunicorn.wait_for(key, "teardown") == expected


def test_client_that_leaves_while_it_waits_for_a_thread_is_served_all_the_same(
    gunicorn: Server, gateway: Server
) -> None:
    for server in (gunicorn, gateway):
        busy, key = new_key(), new_key()
        with ExitStack() as stack:
            for _ in range(THREADS):
                connection = stack.enter_context(server.connect())
                connection.send(build("GET", f"/compute?id={busy}&ms=500"))
            with server.connect() as connection:
                connection.send(build("POST", f"/compute?id={key}", body=b"x"))
        assert server.wait_for(key, "teardown") == ["began", "done", "teardown"]


def test_client_that_leaves_with_a_pipelined_request_behind_its_stream_frees_the_thread(gateway: Server) -> None:
    key = new_key()
    with gateway.connect() as connection:
        connection.send(build("GET", stream(key, pause_ms=20)))
        connection.wait_for(b"aaaa")
        connection.send(build("GET", "/"))
        connection.wait_for(b"bbbb")

    assert gateway.wait_for(key, "closed", CLOSED_WITHIN_S) == CLOSED


def test_client_that_leaves_during_a_slow_close_does_not_disturb_it(gateway: Server) -> None:
    key = new_key()
    with gateway.connect() as connection:
        connection.send(build("GET", f"/slow-close?id={key}&ms=100"))
        connection.wait_for(b"body")

    assert gateway.wait_for(key, "closed") == ["teardown", "closed"]


def test_client_that_half_closes_is_answered_under_gunicorn_alone(gunicorn: Server, gateway: Server) -> None:
    """Differs: uvicorn takes it for one that left. See docs/fidelity.md."""
    answered = []
    for server in (gunicorn, gateway):
        with server.connect() as connection:
            connection.send(build("GET", "/compute?ms=50", [("Connection", "close")]))
            connection.half_close()
            answered.append(connection.read_answer() is not None)

    assert answered == [True, False]


# --- the response fails ----------------------------------------------------------------------------------------------

FAILING = (
    Program([start("200 OK", ("Content-Length", "100000"))], [items(200, 10)]),
    Program([start("200 OK", ("Content-Length", "5"))], [items(200, 10)]),
    Program([start("999 Odd")], [items(200, 10)]),
    Program([start("200 OK", ("X-Odd", "a\x00b"))], [items(200, 10)]),
    Program([start()], [items(200, 10), FAIL]),
    Program([start()], [items(200, 10)], [FAIL]),
    Program([start()], [items(200, 10), EXIT]),
)


@pytest.mark.parametrize("bridge", ["gateway", pytest.param("a2wsgi", marks=fails)])
def test_responses_that_fail_leave_a_server_that_answers_and_stops(bridge: str, tmp_path: Path) -> None:
    """Eleven of each, as stock a2wsgi has ten threads by default; here there are no more either."""
    with serve_gateway(tmp_path, bridge=bridge, legacy_threads=10) as server, killed_at_the_end(server) as pid:
        keys = [new_key() for _ in range(11) for _ in FAILING]
        for key, program in zip(keys, FAILING * 11, strict=True):
            with Connection(server.port, timeout_s=2.0) as connection:
                connection.send(build("GET", program.target(key), [("Connection", "close")]))
                connection.read_all()
        assert_answers_at_once(server)
        eventually(server.active, lambda number: number == 0)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: is_running(pid), lambda running: not running, within_s=5.0)


def test_broken_stream_is_closed_as_under_gunicorn(gunicorn: Server, gateway: Server) -> None:
    key = new_key()
    request = build("GET", stream(key, chunks=5, fail_at=2))

    assert gateway.exchange(request) == gunicorn.exchange(request)
    expected = ["teardown", "start", "finally", "teardown", "closed"]
    assert gateway.wait_for(key, "closed") == gunicorn.wait_for(key, "closed") == expected


# --- the order of things ---------------------------------------------------------------------------------------------


@either_bridge("expendable_stock")
@pytest.mark.parametrize("kind", ["plain", "streamed"])
def test_next_request_on_a_connection_waits_for_the_close_before_it(
    gunicorn: Server, mounted: Server, kind: str
) -> None:
    key, seen = new_key(), {}
    for server in (gunicorn, mounted):
        with server.connect() as connection:
            connection.send(build("GET", f"/slow-close?id={key}&ms=200&{kind}"))
            first = connection.read_answer()
            assert first is not None
            connection.send(build("GET", f"/events/{key}"))
            second = connection.read_answer()
            assert second is not None
            seen[server.name] = first.body, second.body

    assert seen[mounted.name] == seen["gunicorn"]
    assert b"closed" in seen["gunicorn"][1]


def test_server_that_stops_waits_for_a_view_whose_client_has_left(tmp_path: Path) -> None:
    """It may be about to write what it computed."""
    trace = tmp_path / "trace"
    with serve_gateway(tmp_path, graceful_shutdown_s=10) as server, killed_at_the_end(server) as pid:
        key = new_key()
        with server.connect() as connection:
            connection.send(build("POST", f"/compute?id={key}&ms=500&touch={trace}", body=b"x"))
            server.wait_for(key, "began")
        os.kill(pid, signal.SIGTERM)

        eventually(lambda: is_running(pid), lambda running: not running, within_s=5.0)
        assert trace.exists()


def test_server_that_stops_breaks_off_what_never_ends(tmp_path: Path) -> None:
    with serve_gateway(tmp_path, graceful_shutdown_s=1) as server, killed_at_the_end(server) as pid:
        with server.connect() as connection:
            connection.send(build("GET", stream(new_key(), pause_ms=20)))
            connection.wait_for(b"aaaa")
            os.kill(pid, signal.SIGTERM)
            answer = connection.read_answer()
        assert answer is not None
        assert not answer.complete

        eventually(lambda: is_running(pid), lambda running: not running, within_s=5.0)


# --- a thousand of them, and large ones ------------------------------------------------------------------------------


def build_any(random: Random, key: str) -> bytes:
    """One of the requests that leave a server in the middle of something."""
    body = random.randbytes(random.choice([10, 1000, 200_000]))
    chunks = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    return random.choice(
        [
            build("GET", stream(key, pause_ms=5)),
            build("GET", stream(key, chunks=1000, size=10_000)),
            build("POST", stream(key, pause_ms=5), body=body),
            build("POST", f"/digest?id={key}", body=body),
            build("POST", f"/digest?id={key}", chunks=chunks),
            build("POST", "/unread", body=body),
            build("POST", f"/compute?id={key}&ms=5", body=body),
            build("GET", f"/slow-close?id={key}&ms=5"),
            build("GET", stream(key, chunks=5)) + build("POST", f"/digest?id={key}", chunks=chunks),
        ]
    )


def cut(server: Server, seed: int) -> None:
    """One request, of which the client sends a part and then leaves, sooner or later, politely or not."""
    random = Random(seed)
    request = build_any(random, f"cut-{seed}")
    sent = len(request) if random.random() < 0.5 else random.randrange(len(request))
    with server.connect() as connection:
        connection.socket.settimeout(random.choice([0.0001, 0.005, 0.02]))
        with suppress(OSError):
            connection.send(request[: sent // 2], request[sent // 2 : sent])
            for _ in range(random.randrange(4)):
                connection.socket.recv(random.choice([1, 100_000]))
        if random.random() < 0.5:
            connection.abort()


@either_bridge("expendable_stock")
def test_thousand_requests_cut_at_random_leave_every_thread_free(mounted: Server) -> None:
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda seed: cut(mounted, seed), range(1000)))

    eventually(mounted.active, lambda number: number == 0, within_s=5.0)
    mounted.assert_all_threads_are_free()


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_gigabyte_is_uploaded_in_constant_memory(gateway: Server, framing: str) -> None:
    memory, megabyte = gateway.memory(), bytes(1024 * 1024)
    with gateway.connect() as connection:
        if framing == "length":
            connection.send(build("POST", "/count", [("Content-Length", str(2**30))]))
            for _ in range(1024):
                connection.send(megabyte)
        else:
            connection.send(build("POST", "/count", [("Transfer-Encoding", "chunked")]))
            for _ in range(1024):
                connection.send(b"100000\r\n" + megabyte + b"\r\n")
            connection.send(b"0\r\n\r\n")
        answer = connection.read_answer()

    assert answer is not None
    assert answer.body == b"%d\n" % 2**30
    assert memory.growth_bytes() < 64 * 1024 * 1024


def test_gigabyte_is_downloaded_in_constant_memory(gateway: Server) -> None:
    memory, buffer, received = gateway.memory(), bytearray(1024 * 1024), 0
    with gateway.connect() as connection:
        connection.send(build("GET", stream(new_key(), chunks=1024, size=1024 * 1024), [("Connection", "close")]))
        while number := connection.socket.recv_into(buffer):
            received += number

    assert received > 2**30
    assert memory.growth_bytes() < 64 * 1024 * 1024
