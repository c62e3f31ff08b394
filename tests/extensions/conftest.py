from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from tests.examples.servers import serve_wsgi
from tests.servers import RedisServer

pytest.register_assert_rewrite("tests.extensions.clouds", "tests.extensions.visitors")

from tests.extensions.servers import serve_gateway  # noqa: E402
from tests.extensions.visitors import Both, Server  # noqa: E402 - when its asserts have been announced


@pytest.fixture(scope="session")
def both(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """All the apps behind one URL, under gunicorn and behind the gateway."""

    @contextmanager
    def run(name: str, database: int, serve: Callable[[str], AbstractContextManager[int]]) -> Iterator[Server]:
        # Files and Redis keys of its own: what one server's apps keep must not be seen by the other's.
        redis_url = f"redis://127.0.0.1:{redis_server.port}/{database}"
        directory = str(tmp_path_factory.mktemp(name))
        with serve(f"tests.extensions.apps.site:create_site({redis_url!r}, {directory!r})") as port:
            yield Server(name, port, redis_url)

    gateway = partial(serve_gateway, state=tmp_path_factory.mktemp("state"))
    with run("gunicorn", 1, serve_wsgi) as alone, run("gateway", 2, gateway) as mounted:
        yield Both(alone, mounted)
