"""moto's services as boto3 sees them, under gunicorn and behind the gateway alike."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.response import StreamingBody

from tests.examples.comparison import PER_HOP_HEADERS, show_types

REGION = "eu-west-1"
# Ids that moto draws elsewhere than from its seeded source, or in the order of simultaneous requests.
DRAWN = frozenset({"requestid", "hostid", "x-amzn-requestid", "tableid", "uploadid"})
# Headers that follow from a body with such ids and times. (An object's own length is `ContentLength` too.)
OF_BODY = frozenset({"content-length", "x-amz-crc32"})
NOT_COMPARED = DRAWN | OF_BODY | PER_HOP_HEADERS
# HTTP dates, and seconds or milliseconds since 1970.
GENERATED = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT|\b1[789]\d{8}(\d{3})?\b")


@dataclass(frozen=True)
class Cloud:
    url: str
    answers: list[tuple[str, Any]] = field(default_factory=list)
    """Operations, and what boto3 made of their answers, errors too."""
    clients: dict[str, Any] = field(default_factory=dict)

    def connect(self, service: str) -> Any:
        if service not in self.clients:
            keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
            config = Config(retries={"total_max_attempts": 1})
            client = boto3.client(service, endpoint_url=self.url, region_name=REGION, config=config, **keys)
            client.meta.events.register("after-call", self._keep)
            self.clients[service] = client
        return self.clients[service]

    def reset(self) -> None:
        """Forget everything, and draw the same ids from now on."""
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()
        httpx.post(f"{self.url}/moto-api/seed?a=42").raise_for_status()
        self.answers.clear()

    def close(self) -> None:
        for client in self.clients.values():
            client.close()

    def _keep(self, model: Any, parsed: Any, **rest: Any) -> None:
        sys.stdout.write(f"{self.url}: {model.name} -> {parsed['ResponseMetadata']['HTTPStatusCode']}\n")
        self.answers.append((model.name, self._reduce(parsed)))

    def _reduce(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._reduce(item) for name, item in value.items() if name.lower() not in NOT_COMPARED}
        if isinstance(value, list):
            return [self._reduce(item) for item in value]
        if isinstance(value, datetime):
            return "<time>"
        if isinstance(value, StreamingBody):
            return "<body>"
        if isinstance(value, str):
            return GENERATED.sub("<generated>", value.replace(self.url, "<url>"))
        return show_types(value)


@dataclass(frozen=True)
class Clouds:
    """Called in a `for` statement: the cloud under gunicorn, then the one behind the gateway; then all is compared."""

    gunicorn: Cloud
    gateway: Cloud

    def __call__(self) -> Iterator[Cloud]:
        for cloud in (self.gunicorn, self.gateway):
            cloud.reset()
            yield cloud
        for expected, answer in zip(self.gunicorn.answers, self.gateway.answers, strict=True):
            assert answer == expected
