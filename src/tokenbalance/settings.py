"""Every variable the product reads, typed. Used by `app.py` and the CLI, nowhere else.

Values come from the environment, then from `.env` in the working directory. Secrets are
`SecretStr`, so that no traceback or log line can carry them by accident.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tokenbalance.books.pricing.rate_card import RateCard, RateCardError, load_rate_card
from tokenbalance.database.batches import BATCH_MAX
from tokenbalance.model import KnownModel, UpstreamTraits
from tokenbalance.openai.tokens.model_facts import ModelFactsError, read_models
from tokenbalance.people.limit_text import read_setting
from tokenbalance.people.limits import NO_LIMITS, KeyLimits
from tokenbalance.setting_values import (
    addresses_in,
    egress_proxy,
    is_openai,
    mail_server,
    one_address,
    one_line,
    plain_dsn,
    read_by,
    read_secret,
    read_text,
    with_password,
)
from tokenbalance.wire.client.cors import origins_of
from tokenbalance.wire.passing_headers import request_names, response_names

if TYPE_CHECKING:
    from tokenbalance.wire.upstream import UpstreamAddress


class SettingsError(Exception):
    """A variable has a wrong value; the message names it and never repeats a secret."""


class Settings(BaseSettings):
    """The process's configuration; names are upper case in the environment."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    openai_api_key: SecretStr | None = None
    """The upstream key; without it `/v1` responds with 503 and everything else works."""
    openai_api_key_file: Path | None = None
    """A file that holds the upstream key, such as a container secret."""
    openai_base_url: str = "https://api.openai.com/v1"
    openai_organization: str | None = Field(
        default=None, validation_alias=AliasChoices("OPENAI_ORGANIZATION", "OPENAI_ORG_ID")
    )
    openai_project: str | None = Field(
        default=None, validation_alias=AliasChoices("OPENAI_PROJECT", "OPENAI_PROJECT_ID")
    )
    upstream_kind: Literal["openai", "compatible"] | None = Field(
        default=None, validation_alias="TOKENBALANCE_UPSTREAM_KIND"
    )
    """Whether the upstream is OpenAI or only compatible with it; None: decided by its address."""
    default_output_limit: int | None = Field(
        default=None, ge=16, le=2**31 - 1, validation_alias="TOKENBALANCE_DEFAULT_OUTPUT_LIMIT"
    )
    """The output limit of requests that name none, in tokens; None: the model's own."""
    upstream_proxy: Annotated[SecretStr | None, AfterValidator(egress_proxy)] = Field(
        default=None, validation_alias="TOKENBALANCE_UPSTREAM_PROXY"
    )
    """The egress proxy to the upstream: `http://` or `https://`, with or without credentials."""

    request_headers: Annotated[tuple[str, ...], NoDecode, read_by(request_names)] = Field(
        default=(), validation_alias="TOKENBALANCE_REQUEST_HEADERS"
    )
    """Client headers sent upstream in addition to the usual ones; a final `*` matches any end."""
    response_headers: Annotated[tuple[str, ...], NoDecode, read_by(response_names)] = Field(
        default=(), validation_alias="TOKENBALANCE_RESPONSE_HEADERS"
    )
    """Upstream headers that reach clients in addition to the usual ones, likewise."""
    cors_origins: Annotated[tuple[str, ...], NoDecode, read_by(origins_of)] = Field(
        default=(), validation_alias="TOKENBALANCE_CORS_ORIGINS"
    )
    """Origins of web pages that may call `/v1` from a browser, or `*`."""
    body_max_mb: int = Field(default=64, ge=1, le=2048, validation_alias="TOKENBALANCE_BODY_MAX_MB")
    """Largest JSON body in mebibytes, before and after decompression."""
    upload_max_mb: int = Field(default=512, ge=1, validation_alias="TOKENBALANCE_UPLOAD_MAX_MB")
    """Most mebibytes of the files of a form."""
    parallel_max: int = Field(
        default=1000, ge=1, le=1_000_000, validation_alias="TOKENBALANCE_PARALLEL_MAX"
    )
    """Most requests of one account that one worker serves at a time."""
    free_per_minute: int = Field(
        default=600, ge=0, le=1_000_000, validation_alias="TOKENBALANCE_FREE_PER_MINUTE"
    )
    """Most requests of one account and worker in a minute that cost nothing; 0: any number."""
    unknown_endpoints: Literal["deny", "meter"] = Field(
        default="deny", validation_alias="TOKENBALANCE_UNKNOWN_ENDPOINTS"
    )
    """Whether a `POST` of JSON to a path that is in no table is refused, or sent upstream."""
    unknown_hold: int = Field(
        default=100_000, ge=1, le=10**9, validation_alias="TOKENBALANCE_UNKNOWN_HOLD"
    )
    """Tokens of input that are held for such a request, and charged if no usage is reported."""
    models_copy_s: float = Field(
        default=60, ge=0, le=3600, validation_alias="TOKENBALANCE_MODELS_COPY_S"
    )
    """How long the list of models is answered from a copy; 0: never."""

    database_url: SecretStr | None = None
    """`postgresql://...`; without it the embedded Postgres in `data_dir` is used."""
    database_direct_url: SecretStr | None = None
    """For migrations, which do not work through a pooler."""
    database_password_file: Path | None = None
    """A file that contains the password of both URLs, where they have none of their own."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Most connections of one worker for holds and settlements."""
    batch_max: int = Field(
        default=BATCH_MAX, ge=1, le=10_000, validation_alias="TOKENBALANCE_BATCH_MAX"
    )
    """Most requests whose keys, holds or settlements share a statement that moves credits."""
    postgres_bin_dir: Path | None = None
    """The folder of `initdb` and `postgres`, instead of the packaged ones."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    web_concurrency: int = Field(default=1, ge=1, le=256)
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    log_format: Literal["json", "console"] | None = None
    """None: console on a terminal, json elsewhere."""
    metrics_token: SecretStr | None = Field(
        default=None, validation_alias="TOKENBALANCE_METRICS_TOKEN"
    )
    """Must be sent to read `/metrics`; None: anyone with a loopback or private address may."""
    metrics_token_file: Path | None = Field(
        default=None, validation_alias="TOKENBALANCE_METRICS_TOKEN_FILE"
    )
    """A file that contains the token."""
    forwarded_allow_ips: str = "127.0.0.1"

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("tokenbalance"),
        validation_alias="TOKENBALANCE_DATA_DIR",
    )
    """The folder of the embedded database and the settlement journal."""
    signup: Literal["closed", "open"] = Field(
        default="closed", validation_alias="TOKENBALANCE_SIGNUP"
    )
    """Who may create users: only superusers, or anybody."""
    password_chars_min: int = Field(
        default=8, ge=5, le=64, validation_alias="TOKENBALANCE_PASSWORD_CHARS_MIN"
    )
    """Fewest characters of a new password. Below 8, only the length is checked."""
    key_limits: Annotated[KeyLimits, NoDecode, read_by(read_setting)] = Field(
        default=NO_LIMITS, validation_alias="TOKENBALANCE_KEY_LIMITS"
    )
    """Limits of new keys and sign-in tokens, which only superusers lift."""
    insufficient_status: Literal[402, 429] = Field(
        default=402, validation_alias="TOKENBALANCE_INSUFFICIENT_STATUS"
    )
    on_disconnect: Literal["drain", "cancel"] = Field(
        default="drain", validation_alias="TOKENBALANCE_ON_DISCONNECT"
    )
    hold_wait_s: float = Field(
        default=30, ge=0, le=3600, validation_alias="TOKENBALANCE_HOLD_WAIT_S"
    )
    """How long a request may wait for open holds of its account; 0 refuses at once."""
    lease_s: float = Field(default=60, ge=1, le=86_400, validation_alias="TOKENBALANCE_LEASE_S")
    """How long after its last renewal the hold of a dead process is ended."""
    sweep_s: float = Field(default=15, ge=0.1, le=3600, validation_alias="TOKENBALANCE_SWEEP_S")
    """How often the sweep looks for lapsed leases."""
    shutdown_s: float = Field(default=25, ge=0, le=3600, validation_alias="TOKENBALANCE_SHUTDOWN_S")
    """How long requests in flight may continue after SIGTERM, so that 30 s suffice for all."""
    rate_card: Path | None = Field(default=None, validation_alias="TOKENBALANCE_RATE_CARD")
    """A TOML file that says what tokens cost; None: one credit each."""
    models: Path | None = Field(default=None, validation_alias="TOKENBALANCE_MODELS")
    """A TOML file of facts about models, added to those of the package."""
    _own_models: tuple[KnownModel, ...] = PrivateAttr(default=())

    admin_email: str | None = Field(default=None, validation_alias="TOKENBALANCE_ADMIN_EMAIL")
    """Whom a server creates at its start, if there is no superuser."""
    admin_password_file: Path | None = Field(
        default=None, validation_alias="TOKENBALANCE_ADMIN_PASSWORD_FILE"
    )
    """A file that contains the password of `admin_email`."""
    _admin_password: SecretStr | None = PrivateAttr(default=None)

    webhooks_to_private: bool = Field(
        default=False, validation_alias="TOKENBALANCE_WEBHOOKS_TO_PRIVATE"
    )
    """Whether webhooks may lead to addresses that are not public."""
    smtp_url: Annotated[SecretStr | None, AfterValidator(mail_server)] = Field(
        default=None, validation_alias="TOKENBALANCE_SMTP_URL"
    )
    """The mail server for alerts: `smtp://` or `smtps://`; None: no e-mail is sent."""
    mail_from: Annotated[str | None, AfterValidator(one_address)] = Field(
        default=None, validation_alias="TOKENBALANCE_MAIL_FROM"
    )
    """The sender of e-mails."""
    alert_emails: Annotated[tuple[str, ...], NoDecode, read_by(addresses_in)] = Field(
        default=(), validation_alias="TOKENBALANCE_ALERT_EMAILS"
    )
    """Who is told by e-mail of what only the operator can mend."""

    sandbox: bool = Field(default=False, validation_alias="TOKENBALANCE_SANDBOX")
    """The upstream is the built-in fake: every response says so. Set by `serve --sandbox`."""

    @field_validator("openai_base_url")
    @classmethod
    def _base_url_is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = "must be an http:// or https:// URL"
            raise ValueError(msg)
        if parts.username or parts.password or parts.query or parts.fragment:
            msg = "must not carry credentials, a query or a fragment"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _database_is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(plain_dsn(value.get_secret_value()))

    @field_validator("openai_api_key", "metrics_token")
    @classmethod
    def _secret_is_one_line(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else one_line(value.get_secret_value())

    @field_validator("insufficient_status", mode="before")
    @classmethod
    def _status_is_a_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @model_validator(mode="after")
    def _read_secret_files(self) -> Self:
        if self.openai_api_key is None:
            self.openai_api_key = read_secret("OPENAI_API_KEY_FILE", self.openai_api_key_file)
        if self.metrics_token is None:
            name = "TOKENBALANCE_METRICS_TOKEN_FILE"
            self.metrics_token = read_secret(name, self.metrics_token_file)
            # Empty must not mean that the metrics are open.
            if self.metrics_token is None and self.metrics_token_file is not None:
                msg = f"{name}: is empty"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _read_database_password(self) -> Self:
        password = read_secret("DATABASE_PASSWORD_FILE", self.database_password_file)
        if password is not None:
            self.database_url = with_password(self.database_url, password)
            self.database_direct_url = with_password(self.database_direct_url, password)
        return self

    @model_validator(mode="after")
    def _read_admin_password(self) -> Self:
        if (self.admin_email is None) != (self.admin_password_file is None):
            msg = "TOKENBALANCE_ADMIN_EMAIL and TOKENBALANCE_ADMIN_PASSWORD_FILE: set both or none"
            raise ValueError(msg)
        if self.admin_password_file is not None:
            name = "TOKENBALANCE_ADMIN_PASSWORD_FILE"
            text = read_text(name, self.admin_password_file)
            # A password may have spaces at its ends.
            self._admin_password = SecretStr(text.removesuffix("\n").removesuffix("\r"))
        return self

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> Self:
        if self.smtp_url is not None and self.mail_from is None:
            msg = "TOKENBALANCE_MAIL_FROM: must be set with TOKENBALANCE_SMTP_URL"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _read_models(self) -> Self:
        if self.models is not None:
            try:
                self._own_models = read_models(self.models.read_text("utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                msg = f"TOKENBALANCE_MODELS: cannot be read ({type(error).__name__})"
                raise ValueError(msg) from None
            except ModelFactsError as error:
                msg = f"TOKENBALANCE_MODELS: {error}"
                raise ValueError(msg) from None
        return self

    @cached_property
    def rates(self) -> RateCard | None:
        """The rate card, read on first use: commands without prices must not fail for it.

        Raises:
            SettingsError: the card cannot be used.

        """
        if self.rate_card is None:
            return None
        try:
            return load_rate_card(self.rate_card, urlsplit(self.openai_base_url).hostname or "")
        except RateCardError as error:
            msg = f"TOKENBALANCE_RATE_CARD: {error}"
            raise SettingsError(msg) from None

    @property
    def admin_password(self) -> SecretStr | None:
        """The password of the first superuser, as it was when the settings were read."""
        return self._admin_password

    @property
    def upstream_traits(self) -> UpstreamTraits:
        """The properties of the upstream, from its kind and its address."""
        openai = self.sandbox or is_openai(self.openai_base_url)
        return UpstreamTraits(
            is_openai=openai if self.upstream_kind is None else self.upstream_kind == "openai",
            knows_openai_models=self.upstream_kind != "compatible",
            default_output_limit=self.default_output_limit,
            own_models=self._own_models,
        )

    def upstream_address(self, hop: bytes | None = None) -> UpstreamAddress | None:
        """Where the upstream is, and how it is called; None without a key.

        Args:
            hop: names this installation to the upstream; None: nothing does.

        """
        from tokenbalance.wire.upstream import (  # noqa: PLC0415 - few commands call the upstream
            UpstreamAddress,
        )

        if self.openai_api_key is None:
            return None
        proxy = self.upstream_proxy
        return UpstreamAddress(
            base_url=self.openai_base_url,
            api_key=self.openai_api_key.get_secret_value(),
            organization=self.openai_organization,
            project=self.openai_project,
            proxy_url=None if proxy is None else proxy.get_secret_value(),
            hop=hop,
        )

    @property
    def migration_url(self) -> SecretStr | None:
        """Where migrations connect: the direct URL if there is one."""
        return self.database_direct_url or self.database_url


def load_settings(**overrides: object) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: one line that names the first wrong variable, without its value.

    """
    try:
        return Settings(**overrides)  # pyright: ignore[reportArgumentType] - pydantic checks them
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(_describe(first["loc"], first["msg"])) from None


def _describe(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field else None
    return f"{alias if isinstance(alias, str) else name.upper()}: {message}"
