"""`examples.httpbin.app:app`, the target to serve next to the legacy `httpbin:app`."""

from fastapi import FastAPI
from starlette.middleware import Middleware

from examples.httpbin.cors import CorsHeaders
from examples.httpbin.endpoints import auth, cookies, dynamic, formats, inspection, methods, redirects, status
from examples.httpbin.errors import EXCEPTION_HANDLERS, ServerErrors
from examples.httpbin.paths import LeadingSlashes

ROUTERS = [
    methods.router,
    inspection.router,
    formats.router,
    dynamic.router,
    status.router,
    redirects.router,
    cookies.router,
    auth.router,
]

MIDDLEWARE = [
    Middleware(CorsHeaders),  # outermost: every answer carries its headers, error pages too
    Middleware(ServerErrors),
    Middleware(LeadingSlashes),  # innermost: what reaches the routes is the path that Werkzeug would match
]


def create_app() -> FastAPI:
    app = FastAPI(
        # Flask has no such pages, and `/x/` is not `/x` there.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=MIDDLEWARE,
        exception_handlers=EXCEPTION_HANDLERS,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


app = create_app()
