"""All apps behind one URL, by Werkzeug's DispatcherMiddleware."""

from pathlib import Path

from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.extensions.apps import (
    admin,
    async_views,
    caching,
    compress,
    cors,
    csrf,
    database,
    hooks,
    limiter,
    login,
    metrics,
    proxied,
    redis_session,
    responses,
    restful,
    signed_session,
    smorest,
    tokens,
    uploads,
)


def create_site(redis_url: str, directory: str) -> DispatcherMiddleware:
    """`redis_url`: a database, and `directory`: an empty one, for this process alone."""
    path = Path(directory)
    return DispatcherMiddleware(
        responses.create_app(path),
        {
            "/admin-app": admin.create_app(path),
            "/async": async_views.app,
            "/cached/process": caching.create_app({"CACHE_TYPE": "SimpleCache"}),
            "/cached/redis": caching.create_app({"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url}),
            "/compressed": compress.app,
            "/cors": cors.app,
            "/csrf": csrf.app,
            "/database": database.create_app(path),
            "/hooks": hooks.app,
            "/limited": limiter.create_app(redis_url),
            "/login": login.app,
            "/metered": metrics.app,
            "/proxied": proxied.app,
            "/redis-session": redis_session.create_app(redis_url),
            "/restful": restful.app,
            "/signed-session": signed_session.app,
            "/smorest": smorest.app,
            "/tokens": tokens.app,
            "/uploads": uploads.app,
        },
    )
