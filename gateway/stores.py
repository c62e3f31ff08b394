"""From the setting `GATEWAY_STORE` to the store that it names."""

from pathlib import Path

from gateway.errors import SettingsError
from gateway.redis_store import RedisStore, strip_credentials
from gateway.sqlite_store import SqliteStore
from gateway.store import Store

ACCEPTED = "sqlite:///relative/plan.db, sqlite:////absolute/plan.db, redis://host:6379/0, rediss://… or unix://…"


def open_store(url: str) -> Store:
    """Opens nothing yet: the first call of the store does. Slashes count as in SQLAlchemy's URLs."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return SqliteStore(find_sqlite_path(url))
    if scheme in {"redis", "rediss", "unix"}:
        try:
            return RedisStore(url)
        except (ValueError, TypeError) as error:
            # Not the error's own text: it may quote a piece of the password
            raise SettingsError(
                f"the store {strip_credentials(url)!r} is not a URL that redis-py can use: look at its port, number "
                "and options, and at characters of the password that need %-encoding"
            ) from error
    raise SettingsError(f"the store {strip_credentials(url)!r} is none that the gateway knows: give {ACCEPTED}")


def find_sqlite_path(url: str) -> Path:
    prefix, path = url[: len("sqlite:///")], url[len("sqlite:///") :]
    if prefix != "sqlite:///" or path in {"", ":memory:"} or "?" in path:
        raise SettingsError(
            f"the store {url!r} does not name a file: give sqlite:///relative/plan.db or sqlite:////absolute/plan.db"
        )
    return Path(path)
