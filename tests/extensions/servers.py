"""The gateway as a process, before one Flask app."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.examples.servers import serve
from tests.servers import find_free_port


@contextmanager
def serve_gateway(legacy: str, state: Path) -> Iterator[int]:
    """The port of a gateway with the app as its legacy side, and no other."""
    port = find_free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_ADMIN_TOKEN", "token-of-the-extension-tests")
        patch.setenv("GATEWAY_STATE_DIR", str(state))
        patch.setenv("GATEWAY_STORE", f"sqlite:///{state}/plan.db")
        with serve(["-m", "gateway", "serve", "--legacy", legacy, "--port", str(port)], port):
            yield port
