"""The gateway's settings, read once at the entry point: flags, then GATEWAY_* variables, then TOML, then defaults."""

import secrets
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableError

from gateway.canary import CallerKey
from gateway.edge import Proxy, parse_proxy
from gateway.errors import SettingsError
from gateway.plan import Owner

DEFAULT_LEGACY = "legacy_flask.wsgi:app"
DEFAULT_TARGET = "async_api.main:app"
MIN_TOKEN_CHARACTERS = 16
# Variables of the command line, which are no settings of the server.
OTHER_VARIABLES = frozenset({"GATEWAY_URL", "GATEWAY_ACTOR"})
PLACEHOLDERS = ("change", "secret", "token", "password", "example", "admin", "your", "xxx")


class Settings(BaseSettings):
    """Each is also a variable (`GATEWAY_STORE`) and a key in `gateway.toml`, or in pyproject's `[tool.gateway]`."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        frozen=True,
        extra="forbid",
        toml_file="gateway.toml",
        pyproject_toml_table_header=("tool", "gateway"),
    )
    legacy: str | None = Field(None, description="The Flask app: an import string of an app, a factory or a call.")
    target: str | None = Field(
        None, description="The FastAPI app, likewise. Naming one app alone means there is no other."
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, description="How many processes serve.")
    environment: Literal["development", "production"] = Field(
        "development", description="In production a missing or placeholder admin token stops the start."
    )
    admin_token: SecretStr | None = Field(
        None, description="Needed for every change, and for reads unless open_reads. Made and printed in development."
    )
    admin_token_file: Path | None = Field(None, description="A file with the admin token, instead of the variable.")
    open_reads: bool = Field(False, description="Whether the control API answers reads without the token.")
    control_prefix: str = Field("/_gateway", description="Where the control API is.")
    store: str = Field(
        "sqlite:///.gateway/plan.db",
        description="Where the plan is kept: sqlite:///PATH, redis://, rediss://, unix://.",
    )
    state_dir: Path = Field(Path(".gateway"), description="Where this machine keeps its copy of the plan.")
    legacy_threads: int = Field(40, ge=1, description="Threads for the Flask app; gunicorn's workers times threads.")
    legacy_queue: int = Field(400, ge=0, description="Requests that may wait for such a thread; beyond, 503.")
    legacy_time_limit_s: float | None = Field(
        None, gt=0, description="Seconds a legacy answer may take to begin; then 504. Unset: as long as it takes."
    )
    time_limits: dict[str, float] = Field(
        {}, description="The same for single endpoints or patterns, as JSON or a table; the first that fits."
    )
    bridge: Literal["gateway", "a2wsgi"] = Field(
        "gateway", description="What runs the Flask app; stock a2wsgi only to see the difference."
    )
    server_software: str = Field(
        "gunicorn/27.0.1", description="SERVER_SOFTWARE as the Flask app sees it; some apps ask whether it is gunicorn."
    )
    loop_lag_s: float = Field(
        0.25, gt=0, description="Seconds for which code may block the event loop before the log names it."
    )
    canary_key: Annotated[tuple[str, ...], NoDecode] = Field(
        ("cookie:session#_user_id", "cookie:session", "address"),
        description="What recognises a caller, first come: cookie:NAME[#FIELD], header:NAME, address.",
    )
    trusted_proxies: Annotated[tuple[Proxy, ...], NoDecode] = Field(
        (),
        description="Addresses or networks of the proxies in front; `unix` for a unix socket. Their X-Request-ID and "
        "scheme headers count; without any, the scheme headers count from where gunicorn would take them: loopback.",
    )
    client_address_from_proxy: bool = Field(
        False,
        description="Whether trusted proxies' X-Forwarded-For is the client's address; or leave it to ProxyFix.",
    )
    unique_headers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("authorization",), description="Headers that say who a client is: a request that repeats one is refused."
    )
    unique_cookies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Cookies that say who a client is, likewise: Flask takes the first of two, FastAPI the last."
    )
    limit_request_line: int = Field(4094, ge=0, description="gunicorn's setting of that name: bytes, beyond it 414.")
    limit_request_fields: int = Field(100, ge=0, description="gunicorn's: number of headers, beyond it 431.")
    limit_request_field_size: int = Field(8190, ge=0, description="gunicorn's: bytes of one header, beyond it 431.")
    overlaps: dict[str, Owner] = Field(
        {}, description="Endpoints of the async side that match paths of the legacy side, and whose those paths are."
    )
    keep_alive_s: int = Field(
        75, ge=0, description="How long an idle connection stays open; longer than a load balancer's own idle time."
    )
    graceful_shutdown_s: int = Field(
        30, ge=0, description="How long a stopping server waits for answers under way; then it breaks them off."
    )
    target_docs: bool = Field(False, description="Whether FastAPI's /docs, /redoc and /openapi.json are endpoints.")
    access_log: bool = Field(False, description="Whether each request is logged.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = (TomlConfigSettingsSource(settings_cls), PyprojectTomlConfigSettingsSource(settings_cls))
        for source in toml:
            if "admin_token" in source():
                raise SettingsError(
                    "the admin token must not stand in a configuration file: "
                    "give it as GATEWAY_ADMIN_TOKEN or in the file that admin_token_file names"
                )
        return init_settings, env_settings, *toml

    @field_validator("canary_key", "trusted_proxies", "unique_headers", "unique_cookies", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _parse_proxies(cls, value: object) -> object:
        return tuple(parse_proxy(str(proxy)) for proxy in value) if isinstance(value, (tuple, list)) else value

    @field_validator("canary_key")
    @classmethod
    def _check_canary_key(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            CallerKey.parse(text)
        return value

    @field_validator("control_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not value.startswith("/") or len(value.strip("/")) == 0 or value.endswith("/") or "{" in value:
            raise ValueError("must be a path such as /_gateway: it begins with a slash, and does not end with one")
        return value

    @model_validator(mode="after")
    def _check_client_address(self) -> Self:
        if self.client_address_from_proxy and not self.trusted_proxies:
            raise ValueError("client_address_from_proxy needs trusted_proxies: whose X-Forwarded-For counts")
        return self

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.environment == "production":
            token = self.token
            if len(token) < MIN_TOKEN_CHARACTERS or any(token.lower().startswith(word) for word in PLACEHOLDERS):
                raise ValueError(
                    "production needs an admin token that is no placeholder: set GATEWAY_ADMIN_TOKEN or "
                    "GATEWAY_ADMIN_TOKEN_FILE to at least 16 random characters, as 'openssl rand -hex 24' prints"
                )
        return self

    @cached_property
    def token(self) -> str:
        """The admin token; made here where none is given. An empty one would let everybody in, so it counts as none."""
        if self.admin_token is not None and self.admin_token.get_secret_value():
            return self.admin_token.get_secret_value()
        if self.admin_token_file is not None:
            return _read_token(self.admin_token_file)
        return "" if self.environment == "production" else secrets.token_urlsafe(16)

    @property
    def legacy_app(self) -> str | None:
        return self.legacy or (None if self.target else DEFAULT_LEGACY)

    @property
    def target_app(self) -> str | None:
        return self.target or (None if self.legacy else DEFAULT_TARGET)

    @property
    def caller_keys(self) -> tuple[CallerKey, ...]:
        return tuple(CallerKey.parse(text) for text in self.canary_key)


def load_settings(**flags: Any) -> Settings:
    """The settings with these flags above all else (None: not given). Raises SettingsError that names each bad one."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except (tomllib.TOMLDecodeError, UnreadableError) as exc:
        raise SettingsError(f"the settings cannot be read: {exc}") from exc
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, error['loc'])) or 'settings'}: {_message(error)}" for error in exc.errors()]
        raise SettingsError("the settings cannot be used: " + "; ".join(lines)) from exc


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that look like settings but are none, each with a hint at the nearest that is."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields}
    for variable in sorted(environ):
        if variable.startswith("GATEWAY_") and variable not in known | OTHER_VARIABLES:
            near = get_close_matches(variable.removeprefix("GATEWAY_").lower(), Settings.model_fields, n=1)
            yield variable, f"; did you mean GATEWAY_{near[0].upper()}?" if near else ""


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as exc:
        raise SettingsError(f"cannot read the admin token: {exc}") from exc
    if not token:
        raise SettingsError(f"the file of the admin token is empty: {path}")
    return token


def _message(error: Any) -> str:
    """Pydantic's message without the value: it may be a secret."""
    return str(error["msg"]).removeprefix("Value error, ")
