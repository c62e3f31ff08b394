"""The control API from the command line's end."""

from typing import Any

import httpx

from gateway.errors import GatewayError

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_PREFIX = "/_gateway"
TIMEOUT_S = 10.0


class ServerUnreachableError(GatewayError):
    """No gateway answers at the URL."""


class RefusedError(GatewayError):
    """The gateway said no; the text says why."""


class Client:
    """One gateway's control API at `url` (the control prefix included or not: without, the default is taken)."""

    def __init__(self, url: str, token: str | None, *, prefix: str = DEFAULT_PREFIX) -> None:
        self._url = url.rstrip("/")
        self._base = self._url if self._url.endswith(prefix) else self._url + prefix
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        return self._request("GET", path, params=given)

    def post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, json=document)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = httpx.request(
                method, self._base + path, headers=self._headers, timeout=TIMEOUT_S, trust_env=False, **options
            )
        except httpx.InvalidURL as exc:
            raise ServerUnreachableError(f"'{self._url}' is no URL: {exc}") from exc
        except httpx.HTTPError as exc:
            raise ServerUnreachableError(
                f"no gateway answers at {self._url} ({exc}): start one with 'gateway serve', "
                "or say where it is with --url or GATEWAY_URL"
            ) from exc
        return self._read(response)

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = None
        if response.is_success and isinstance(document, dict):
            return document
        raise RefusedError(self._problem(response, document))

    def _problem(self, response: httpx.Response, document: Any) -> str:
        detail = document.get("detail") if isinstance(document, dict) else None
        if response.status_code == 401:
            return f"{self._url} wants the admin token: set GATEWAY_ADMIN_TOKEN to what the server printed at start"
        if isinstance(detail, list):  # pydantic's list of what is wrong with the request
            return "; ".join(f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}" for error in detail)
        if detail:
            return str(detail)
        return f"{self._base} is no gateway's control API: it answered {response.status_code}"
