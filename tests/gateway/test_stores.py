import pytest

from gateway.errors import SettingsError
from gateway.redis_store import RedisStore
from gateway.sqlite_store import SqliteStore
from gateway.stores import open_store


@pytest.mark.parametrize(
    ("url", "description"),
    [
        ("sqlite:///.gateway/plan.db", "SQLite file .gateway/plan.db"),
        ("sqlite:////var/lib/gateway/plan.db", "SQLite file /var/lib/gateway/plan.db"),
        ("redis://localhost:6379/2", "Redis at redis://localhost:6379/2"),
        ("redis://:secret@10.0.0.1:6379/0", "Redis at redis://10.0.0.1:6379/0"),
        ("rediss://user:secret@redis.example:6380/0?ssl_cert_reqs=none", "Redis at rediss://redis.example:6380/0"),
        ("redis://redis.example?password=secret", "Redis at redis://redis.example"),
        ("redis://redis.example?password=secret@1", "Redis at redis://…"),
        ("unix://user:secret@/run/redis.sock?db=1", "Redis at unix:///run/redis.sock"),
    ],
)
async def test_open_store_takes_a_url(url: str, description: str) -> None:
    store = open_store(url)
    assert store.description == description
    assert isinstance(store, SqliteStore if url.startswith("sqlite") else RedisStore)
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "plan.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://plan.db",
        "sqlite:///plan.db?mode=ro",
        "postgresql://secret:secret@localhost/plan",
        "redis://localhost:port/0",
        "redis://user:secret/tail@localhost/0",
        "redis://localhost/0?db=secret",
        "redis://localhost/0?sockettimeout=1",
    ],
)
def test_open_store_refuses_anything_else_and_quotes_no_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="the store") as refusal:
        open_store(url)
    assert "secret@" not in str(refusal.value)
    assert ":secret" not in str(refusal.value)
