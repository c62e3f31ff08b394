import re

from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from examples.httpbin.urls import quote_path

REPEATED_SLASHES = re.compile("/{2,}")


class LeadingSlashes:
    """`//get` is `/get`, as it is in Werkzeug."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("//"):
            scope = dict(scope, path="/" + scope["path"].lstrip("/"))
        await self.app(scope, receive, send)


def find_merged_target(request: Request) -> str | None:
    """The path and query to redirect to when merging repeated slashes makes the path one that we serve."""
    path = REPEATED_SLASHES.sub("/", request.scope["path"])
    if path == request.scope["path"]:
        return None
    scope = dict(request.scope, path=path)
    if not any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
        return None
    query = request.scope["query_string"].decode("latin-1")
    return quote_path(path) + (f"?{query}" if query else "")
