from collections.abc import Iterator

import pytest

from tests.servers import RedisServer, find_redis, find_valkey


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """Shared: each test uses keys of its own."""
    with RedisServer(find_valkey()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Shared, like `valkey_server`, but genuine Redis."""
    with RedisServer(find_redis()) as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server for one test, to kill, pause and empty."""
    with RedisServer(find_valkey()) as server:
        yield server
