"""A closed-loop load of large answers, which are counted and thrown away: `http_load` would hold them in memory."""

import asyncio
import re
import socket
from time import perf_counter

from loadtests.http_load import Request, Results
from loadtests.servers import HOST

BUFFER_BYTES = 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


async def run_downloads(port: int, request: Request, *, connections: int, seconds: float, body_bytes: int) -> Results:
    """Each connection asks again until the time is over. Raises RuntimeError for an answer of another size."""
    results = Results()
    started = perf_counter()
    deadline = started + seconds
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(_download_until(deadline, port, request, body_bytes, results))
    results.seconds = perf_counter() - started
    return results


async def _download_until(deadline: float, port: int, request: Request, body_bytes: int, results: Results) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(BUFFER_BYTES)
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (HOST, port))
        while perf_counter() < deadline:
            results.requests += 1
            started = perf_counter()
            await loop.sock_sendall(connection, request.data)
            await _read_answer(connection, buffer, body_bytes)
            results.latencies.append(perf_counter() - started)


async def _read_answer(connection: socket.socket, buffer: bytearray, body_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    received = 0
    while (end := buffer.find(b"\r\n\r\n", 0, received)) < 0:
        received += await _receive(loop, connection, memoryview(buffer)[received:])
    head = bytes(buffer[: end + 4])
    length = _LENGTH.search(head)
    if b" 200 " not in head[:16] or length is None or int(length[1]) != body_bytes:
        raise RuntimeError(f"expected {body_bytes} bytes, got {head!r}")
    left = body_bytes - (received - len(head))
    while left > 0:
        left -= await _receive(loop, connection, memoryview(buffer))


async def _receive(loop: asyncio.AbstractEventLoop, connection: socket.socket, buffer: memoryview) -> int:
    received = await loop.sock_recv_into(connection, buffer)
    if not received:
        raise RuntimeError("the server closed the connection within its answer")
    return received
