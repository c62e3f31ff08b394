from collections.abc import Iterator

import pytest

from tests.fidelity.servers import Server, serve_gateway, serve_gunicorn


@pytest.fixture(scope="session")
def gunicorn() -> Iterator[Server]:
    """The truth."""
    with serve_gunicorn() as server:
        yield server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_gateway(tmp_path_factory.mktemp("gateway")) as server:
        yield server


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway with stock a2wsgi as its bridge."""
    with serve_gateway(tmp_path_factory.mktemp("stock"), bridge="a2wsgi") as server:
        yield server


@pytest.fixture
def mounted(request: pytest.FixtureRequest) -> Server:
    """Who claims to be as gunicorn; see `either_bridge`."""
    server: Server = request.getfixturevalue(request.param)
    return server
