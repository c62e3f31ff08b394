from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, PATCH, OPTIONS",
    "Access-Control-Max-Age": "3600",
}


class CorsHeaders:
    """httpbin's `after_request` hook: any origin may read any answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        added = cors_headers(scope["method"], Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def cors_headers(method: str, request_headers: Headers) -> dict[str, str]:
    added = {
        "Access-Control-Allow-Origin": ",".join(request_headers.getlist("Origin") or "*"),
        "Access-Control-Allow-Credentials": "true",
    }
    if method == "OPTIONS":
        added |= PREFLIGHT
        if requested := request_headers.getlist("Access-Control-Request-Headers"):
            added["Access-Control-Allow-Headers"] = ",".join(requested)
    return added
