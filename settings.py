"""The environment → one frozen Settings. Imports nothing of ours.

A wrong value is refused with one sentence that names the variable (SettingsError); no value of a
secret is ever part of a message, a repr or a log line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"  # as its SDK reads the same variable: without the version
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"

ENV_FILE = ".env"
_SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_HAS_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")  # a URL, whatever its variable is called

Kind = Literal["openai", "anthropic", "gemini"]  # whose API it speaks: the package of promptmill/dialects
# what a base URL ends in
BASE_PATHS: dict[Kind, str] = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta"}

# providers with variables of their own, such as OPENAI_API_KEY, and their addresses
BUILT_IN: dict[Kind, str] = {"openai": OPENAI_URL, "anthropic": ANTHROPIC_URL, "gemini": GEMINI_URL}


class SettingsError(Exception):
    """One sentence a line, each naming the environment variable to put right."""


def _split(value: Any) -> Any:
    """`a, b` → ("a", "b"): the form lists take in an environment."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _is_http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    if not url.partition("://")[2].strip("/"):
        raise ValueError("must name a host, such as http://localhost:8000/v1")
    return url.rstrip("/")


def _without_version(url: str) -> str:
    return url.removesuffix("/v1")


def _is_routed(model: str) -> str:
    provider, _, name = model.partition("/")
    if not provider or not name:
        raise ValueError("must be provider/model, such as openai/gpt-4o-mini")
    return model


Seconds = Annotated[float, Field(gt=0, le=30 * 86_400)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
BaseURL = Annotated[str, AfterValidator(_is_http)]
RoutedModel = Annotated[str, AfterValidator(_is_routed)]


class ProviderSettings(BaseModel):
    """Where a provider is and how to speak to it. A local server needs no key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: BaseURL
    api_key: SecretStr | None = None
    kind: Kind = "openai"
    needs_key: bool = False

    _prefix: str = PrivateAttr("")  # of the variables that set it

    def under(self, prefix: str) -> Self:
        """The same, with variables that begin with `prefix`."""
        copy = self.model_copy()
        copy._prefix = prefix.upper()
        return copy

    @property
    def api_url(self) -> str:
        """`base_url` with the version, which Anthropic's SDK, and so its users, leave out. A query stays behind it."""
        base, mark, query = self.base_url.partition("?")
        if self.kind == "anthropic" and not base.rstrip("/").endswith("/v1"):
            return f"{base.rstrip('/')}/v1{mark}{query}"
        return self.base_url

    @property
    def key(self) -> str | None:
        """The key, or None. A line's end it was pasted with, which no header can hold, is not part of it."""
        return (self.api_key.get_secret_value().strip() or None) if self.api_key else None

    @property
    def is_usable(self) -> bool:
        """Whether it can be called: it has its key, or needs none."""
        return self.key is not None or not self.needs_key

    @property
    def key_variable(self) -> str:
        """The variable that its key is read from."""
        return f"{self._prefix}API_KEY"

    @property
    def url_variable(self) -> str:
        """The variable that its address is read from."""
        return f"{self._prefix}BASE_URL"


class Settings(BaseSettings):
    """Every setting, its default and its unit. README.md holds the same as a table."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=ENV_FILE,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    redis_url: SecretStr | None = None  # unset: the embedded server
    redis_ssl_cert_reqs: Literal["none", "optional", "required"] | None = None
    data_dir: str = Field(".promptmill", validation_alias=AliasChoices("data_dir", "PROMPTMILL_DATA_DIR"))

    # providers
    openai_api_key: SecretStr | None = None
    openai_base_url: BaseURL = OPENAI_URL
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: Annotated[BaseURL, AfterValidator(_without_version)] = ANTHROPIC_URL
    gemini_api_key: SecretStr | None = None
    gemini_base_url: BaseURL = GEMINI_URL
    providers: dict[str, ProviderSettings] = {}
    default_model: RoutedModel = "openai/gpt-4o-mini"
    default_embed_model: RoutedModel = "openai/text-embedding-3-small"
    prices_file: str | None = None

    # the worker
    max_jobs: Annotated[int, Field(ge=1, le=20_000)] = 500
    max_tries: Annotated[int, Field(ge=1, le=100)] = 5
    job_timeout_s: Seconds = 900
    request_timeout_s: Seconds = 300
    connect_timeout_s: Seconds = 10
    unreachable_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 15
    stream_silence_s: Seconds = 60
    max_answer_mb: Annotated[int, Field(ge=1, le=4_096)] = 64
    max_result_mb: Annotated[int, Field(ge=1, le=500)] = 250  # half of what Redis takes as one value
    result_ttl_s: Seconds = 86_400
    stream_ttl_s: Seconds = 600
    drain_s: Annotated[float, Field(ge=0, le=3_600)] = 20
    lease_s: Annotated[float, Field(ge=1, le=3_600)] = 15
    redis_outage_s: Seconds = 300
    job_modules: Names = ()
    loop_lag_warn_ms: Annotated[int, Field(ge=0, le=60_000)] = 100

    cpu_processes: Annotated[int, Field(ge=1, le=1_024)] | None = None
    cpu_memory_mb: Annotated[int, Field(ge=0)] = 0

    # limits of the whole fleet; worker/limits.py reads them
    limits: str | None = None
    limits_file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A key that was pasted with a line's end is trimmed, too: HTTP headers cannot hold it."""
        trimmed = {k: v.strip() if isinstance(v, str) else v for k, v in values.items()}
        return {name: value for name, value in trimmed.items() if value != ""}

    @field_validator("providers", mode="after")
    @classmethod
    def _lower(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        return {name.lower(): provider for name, provider in providers.items()}

    def all_providers(self) -> dict[str, ProviderSettings]:
        """Every provider by name: those built in, and those of PROVIDERS__NAME__BASE_URL."""
        built_in: dict[str, ProviderSettings] = {
            name: ProviderSettings(
                base_url=getattr(self, f"{name}_base_url"),
                api_key=getattr(self, f"{name}_api_key"),
                kind=name,
                needs_key=getattr(self, f"{name}_base_url") == url,
            ).under(f"{name}_")
            for name, url in BUILT_IN.items()
        }
        added = {name: each.under(f"PROVIDERS__{name}__") for name, each in self.providers.items()}
        return built_in | added


def load() -> Settings:
    """The settings of this process, from its environment and `.env`. Raises SettingsError: a value cannot be used, or
    `.env`, which may be anybody's, would send a secret of the environment elsewhere, or let anybody read it."""
    try:
        settings = Settings()
        if led_astray := list(_led_astray(settings)):
            raise SettingsError("\n".join(led_astray))
        return settings
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{ENV_FILE} cannot be read: {reason}.") from None
    except SourceError:  # the one variable that is read as JSON is none
        raise SettingsError(
            "PROVIDERS cannot be used: it is not a JSON object; PROVIDERS__NAME__BASE_URL needs no JSON."
        ) from None


def _led_astray(settings: Settings) -> Iterator[str]:
    """What of the environment's, and not of the file's, `.env` would send elsewhere, or weaken. The file may have been
    written by whoever made the directory."""
    if not Path(ENV_FILE).is_file():
        return
    text = Path(ENV_FILE).read_text(encoding="utf-8")
    environment, file = EnvSettingsSource(Settings)(), DotEnvSettingsSource(Settings)()
    secrets = [
        value
        for name, value in os.environ.items()
        if (_SECRET_NAME.search(name) or _HAS_PASSWORD.search(value)) and len(value) > 7 and value not in text
    ]
    yield from _redis_astray(environment, file, secrets, text)
    for name, provider in settings.all_providers().items():
        is_built_in = name not in settings.providers
        told_by_file = "base_url" in _told(file, name, is_built_in=is_built_in)
        if not told_by_file or "base_url" in _told(environment, name, is_built_in=is_built_in):
            continue
        in_address = any(secret in provider.base_url for secret in secrets)  # by ${NAME} in the file
        if (in_address or (provider.key or "") not in text) and not provider.needs_key:
            yield (
                f"{ENV_FILE} in this directory would send a key of the environment to "
                f"{urlsplit(provider.base_url).hostname}: if that is right, set {provider.url_variable} in the "
                f"environment, too, or {provider.key_variable} in {ENV_FILE} alone."
            )


def _redis_astray(
    environment: dict[str, Any], file: dict[str, Any], secrets: list[str], text: str
) -> Iterator[str]:
    """Redis has its password in its URL: what only `.env` says of it must not hold others, nor leave the server of a
    URL of the environment unverified."""
    url, ours = file.get("redis_url") or "", (environment.get("redis_url") or "").strip()
    if not ours and any(secret in url or secret in unquote(url) for secret in secrets):
        yield (
            f"{ENV_FILE} in this directory would send a secret of the environment to the server of its REDIS_URL: if "
            "that is right, set REDIS_URL in the environment, too."
        )
    checks = (file.get("redis_ssl_cert_reqs") or "").strip()
    if ours.lower().startswith("rediss") and checks in ("none", "optional") and ours not in text:
        if environment.get("redis_ssl_cert_reqs") or "ssl_cert_reqs=" in ours:
            return
        yield (
            f"{ENV_FILE} in this directory would have the certificate of the environment's REDIS_URL not verified, and "
            "anybody could be sent its password: if that is right, set REDIS_SSL_CERT_REQS in the environment, too."
        )


def _told(source: dict[str, Any], name: str, *, is_built_in: bool) -> dict[str, Any]:
    """What a source tells of a provider."""
    if is_built_in:
        return {"base_url": url} if (url := source.get(f"{name}_base_url")) else {}
    told: dict[str, Any] = {}
    for each, fields in (source.get("providers") or {}).items():
        if each.lower() == name:
            told |= fields
    return told


def _sentence(error: Any) -> str:
    variable = "__".join(str(part) for part in error["loc"]).upper()
    if variable == "DATA_DIR":
        variable = "PROMPTMILL_DATA_DIR"
    reason = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{variable} cannot be used: {reason[0].lower()}{reason[1:]}."
