"""The plan in Redis (or Valkey): shared by replicas on any number of machines, which learn of a change at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from gateway.errors import PlanConflictError, StoreUnavailableError
from gateway.plan import Change, Plan
from gateway.store import CALL_TIMEOUT_S, decode_changes, decode_plan, encode_change

SOCKET_TIMEOUT_S = CALL_TIMEOUT_S / 2

# KEYS: plan, history. ARGV: expected revision, new revision, plan, channel, then a version and a change in turn.
# Entries from the first new version on can only be there when the plan in force was lost without its history.
# PUBLISH may be forbidden by an ACL: polling still finds the change then.
APPEND = """
local document = redis.call('GET', KEYS[1])
local held = document and cjson.decode(document).revision or ''
if held == ARGV[2] then return 1 end
if held ~= ARGV[1] then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], ARGV[5], '+inf')
for i = 5, #ARGV, 2 do redis.call('ZADD', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[1], ARGV[3])
redis.pcall('PUBLISH', ARGV[4], ARGV[2])
return 1
"""


class RedisStore:
    """A `Store` under the keys `{prefix}:plan` (JSON) and `{prefix}:history` (a sorted set of JSON, by version).

    Each change publishes the new revision on the channel `{prefix}:changed`. Raises ValueError or TypeError for a
    `url` that redis-py cannot use.
    """

    def __init__(self, url: str, prefix: str = "gateway") -> None:
        self.description = f"Redis at {strip_credentials(url)}"
        self._plan = f"{prefix}:plan"
        self._history = f"{prefix}:history"
        self._channel = f"{prefix}:changed"
        self._redis = Redis.from_url(
            url,
            protocol=2,  # spoken by every server and proxy; nothing here needs more
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            # One more attempt for a connection that a restarted server left behind; a time-out is not worth another
            retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
        )
        # The pool would find an unknown option in the URL only on its first connection
        self._redis.connection_pool.connection_class(**self._redis.connection_pool.connection_kwargs)
        self._subscription: PubSub | None = None

    async def load(self) -> Plan:
        async with self._calling():
            document = await self._redis.get(self._plan)
        return decode_plan(document)

    async def append(self, changes: Sequence[Change], plan: Plan) -> None:
        arguments = [changes[0].parent, plan.revision, plan.dumps(), self._channel]
        for change in changes:
            arguments += [str(change.version), encode_change(change)]
        async with self._calling():
            is_written = await self._redis.eval(APPEND, 2, self._plan, self._history, *arguments)
        if not is_written:
            raise PlanConflictError("the plan has been changed by someone else: look at it and try again")

    async def list_changes(
        self, *, after: int = 0, before: int | None = None, limit: int | None = None
    ) -> list[Change]:
        newest = "+inf" if before is None else f"({before}"
        async with self._calling():
            documents = await self._redis.zrevrangebyscore(
                self._history, newest, f"({after}", start=0, num=-1 if limit is None else limit
            )
        return decode_changes(cast("list[bytes]", documents))

    async def wait(self, timeout_s: float) -> None:
        try:
            async with self._calling(timeout_s + CALL_TIMEOUT_S):
                await self._wait_for_message(timeout_s)
        except StoreUnavailableError:
            await self._unsubscribe()
            raise

    async def close(self) -> None:
        await self._unsubscribe()
        with suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _wait_for_message(self, timeout_s: float) -> None:
        if self._subscription is None:
            self._subscription = self._redis.pubsub()
            await self._subscription.subscribe(self._channel)
        try:
            # Subscribes again by itself on a new connection. The confirmation counts as a message, rightly so:
            # what was published before it is lost
            await self._subscription.get_message(timeout=timeout_s)
        except ResponseError:
            # SUBSCRIBE is refused, by an ACL or a proxy: what is left is to look at every `timeout_s`
            await self._unsubscribe()
            await asyncio.sleep(timeout_s)

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _calling(self, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[None]:
        """The only place that knows the errors of redis-py and of the network."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(
                f"{self.description} cannot be used: {str(error) or 'no answer in time'}"
            ) from error


def strip_credentials(url: str) -> str:
    """`url` without user, password and options (which may hold a password, too), however malformed it is."""
    scheme, _, rest = url.partition("://")
    address = rest.partition("?")[0]
    if "@" in rest and "@" not in address:
        address = "…"
    return f"{scheme}://{address.rpartition('@')[2]}"
