"""Context variables, Flask's contexts among them (hazards 63-65)."""

import contextvars
from collections.abc import Callable, Iterable
from typing import Any

from gateway.bridge import Bridge
from tests.fidelity.bridges import either_bridge
from tests.fidelity.servers import Server
from tests.gateway.apps import fetch

OUTER: contextvars.ContextVar[str] = contextvars.ContextVar("outer", default="unset")


@either_bridge()
def test_app_context_that_was_pushed_on_import_is_not_shared_by_requests(gunicorn: Server, mounted: Server) -> None:
    names = ["alice", "bob", "carol"]

    assert [mounted.get(f"/user/{name}") for name in names] == [gunicorn.get(f"/user/{name}") for name in names]
    assert gunicorn.get("/user/dave") is None


async def test_variables_of_the_servers_tasks_are_not_seen_by_the_app() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield OUTER.get().encode()

    bridge = Bridge(app, threads=1, queue=0)
    OUTER.set("of this task")

    assert (await fetch(bridge, "GET", "/")).text == "unset"
    assert OUTER.get() == "of this task"
    bridge.close()


def test_variables_do_not_stay_in_a_thread(gateway: Server) -> None:
    """Differs: under gunicorn a thread's next request finds what the last one left. See docs/fidelity.md."""
    assert {gateway.get(f"/variable/{number}") for number in range(50)} == {"unset"}
