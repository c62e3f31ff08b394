from collections.abc import AsyncIterator

import pytest

from gateway.bridge import Bridge
from tests.gateway.asgi_client import App, MakeBridge
from tests.gateway.plans import eventually


@pytest.fixture
async def make_bridge() -> AsyncIterator[MakeBridge]:
    """Makes bridges; at the end none of their threads may be busy any more."""
    bridges = []

    def make(app: App, *, threads: int = 2, queue: int = 10) -> Bridge:
        bridges.append(Bridge(app, threads=threads, queue=queue))
        return bridges[-1]

    yield make
    for bridge in bridges:
        await eventually(lambda: bridge.busy + bridge.waiting == 0)  # noqa: B023
        bridge.close()
