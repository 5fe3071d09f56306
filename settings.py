"""Settings of every process, from the environment and from an `.env` file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from temporalio.client import Client, Interceptor, TLSConfig
from temporalio.runtime import Runtime

from activities.functions import Functions
from activities.services import HttpConfig, MailConfig, MailHosts, Services
from db.admission import Caps
from db.engine import Database
from db.tenancy import SERVICE_ROLE
from db.url import normalise_url
from schemas.durations import parse_duration
from schemas.errors import InputError
from schemas.keyring import KeyRing
from schemas.mail import MailPolicy
from schemas.masking import Masking
from settings_ai import AiSettings, reveal, split
from settings_trust import TrustSettings
from workflows.setup import connect
from workflows.worker_options import MIN_CACHED_WORKFLOWS, Tasks


def _plain(name: str) -> AliasChoices:
    """Give the names of a variable that other programs know without our prefix."""
    return AliasChoices(name, f"SOJOURN_{name}")


class SettingsError(Exception):
    """A setting is missing or wrong; the message names each, with its environment variable."""


class Settings(AiSettings, TrustSettings, BaseSettings):
    """What the worker, the API and the CLI are told by their environment.

    Every variable has the prefix `SOJOURN_`, except `DATABASE_URL`, `TEMPORAL_*`, `SMTP_URL` and
    `OTEL_*`.
    Times are in seconds. Secrets never appear in a representation of this object.
    """

    model_config = SettingsConfigDict(
        env_prefix="SOJOURN_",
        env_file=".env",
        # Compose files and shells pass variables on that are set to nothing.
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    database_url: SecretStr = Field(validation_alias=_plain("DATABASE_URL"))
    database_pool_size: int = Field(default=10, ge=1, le=200)

    temporal_address: str = Field(
        default="localhost:7233", validation_alias=_plain("TEMPORAL_ADDRESS")
    )
    temporal_namespace: str = Field(
        default="default", validation_alias=_plain("TEMPORAL_NAMESPACE")
    )
    temporal_api_key: SecretStr | None = Field(
        default=None, validation_alias=_plain("TEMPORAL_API_KEY")
    )
    temporal_tls: bool = Field(default=False, validation_alias=_plain("TEMPORAL_TLS"))
    temporal_tls_ca: Path | None = Field(default=None, validation_alias=_plain("TEMPORAL_TLS_CA"))
    temporal_tls_cert: Path | None = Field(
        default=None, validation_alias=_plain("TEMPORAL_TLS_CERT")
    )
    temporal_tls_key: Path | None = Field(default=None, validation_alias=_plain("TEMPORAL_TLS_KEY"))
    task_queue: str = "sojourn"

    api_key: SecretStr | None = None
    # "id:base64,…", 32 bytes each; the first one seals, all of them open.
    secret_keys: SecretStr | None = None
    workspace: str = "default"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    public_url: str | None = None
    reconcile_every: float = Field(default=15.0, gt=0)
    # Of the workspace, over all its definitions.
    max_open_runs: int | None = Field(default=None, ge=1)
    max_starts_per_minute: int | None = Field(default=None, ge=1)
    max_queued_starts: int = Field(default=10_000, ge=1)
    fairness_weight: float | None = Field(default=None, ge=0.001, le=1000)

    smtp_url: SecretStr = Field(
        default=SecretStr("smtp://localhost:1025"), validation_alias=_plain("SMTP_URL")
    )
    mail_from: str | None = None
    booking_url: str | None = None
    # Of the configured server; connections say it themselves.
    mail_rate_per_minute: int | None = Field(default=None, ge=1, le=100_000)
    mail_per_lead: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,2}/[0-9a-z]+$")
    mail_poll_every: float = Field(default=30.0, gt=0)
    mail_tracking: Annotated[list[Literal["opens", "clicks"]], NoDecode] = []

    # Of the mail servers of connections; the configured one of SMTP_URL may stand anywhere.
    mail_allow_cidrs: Annotated[list[str], NoDecode] = []
    mail_allow_ports: Annotated[list[int], NoDecode] = []
    http_allow_cidrs: Annotated[list[str], NoDecode] = []
    http_allow_ports: Annotated[list[int], NoDecode] = []

    code_enabled: bool = True
    # module, or module@workspace
    function_modules: Annotated[list[str], NoDecode] = []

    timescale: float = Field(default=1.0, gt=0, description="divides every timer; development only")
    max_cached_workflows: int = Field(default=1000, ge=MIN_CACHED_WORKFLOWS)
    sticky_timeout: float = Field(default=10.0, ge=1)
    # The interpreter is the only workflow code and the tests run it sandboxed: see worker_options.
    workflow_sandbox: bool = False
    max_concurrent_activities: int = Field(default=100, ge=1)
    worker_tasks: Tasks = "all"
    shutdown_grace: float = Field(default=20.0, ge=0)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(default=None, ge=0, le=65535)

    # OpenTelemetry's own names; the exporters read the rest of them from the environment.
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#]+$",
        validation_alias=_plain("OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(
        default=None, validation_alias=_plain("OTEL_EXPORTER_OTLP_HEADERS")
    )
    # Milliseconds.
    otel_metric_export_interval: int = Field(
        default=60_000, ge=100, validation_alias=_plain("OTEL_METRIC_EXPORT_INTERVAL")
    )

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator(
        "http_allow_cidrs",
        "http_allow_ports",
        "mail_allow_cidrs",
        "mail_allow_ports",
        "function_modules",
        "mail_tracking",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return split(value)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        try:
            normalise_url(value.get_secret_value())
        except InputError as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("mail_per_lead")
    @classmethod
    def _check_mail_per_lead(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value.partition("/")[2])
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr) -> SecretStr:
        MailConfig.from_url(value.get_secret_value())
        return value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters")
        return value

    @field_validator("secret_keys")
    @classmethod
    def _check_secret_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            KeyRing.parse(value.get_secret_value())
        return value

    @property
    def keyring(self) -> KeyRing | None:
        """The keys of stored connections and secrets; None where none are set."""
        return (
            None if self.secret_keys is None else KeyRing.parse(self.secret_keys.get_secret_value())
        )

    @property
    def base_url(self) -> str:
        """Where the API is reached: `public_url`, or this host and port."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def mail_policy(self) -> MailPolicy:
        """How mail leaves over the configured server."""
        count, _, per = (self.mail_per_lead or "").partition("/")
        return MailPolicy.model_validate(
            {
                "rate_per_minute": self.mail_rate_per_minute,
                "per_lead": {"count": int(count), "per": per} if per else None,
                "tracking": dict.fromkeys(self.mail_tracking, True),
            }
        )

    @property
    def tls(self) -> bool | TLSConfig:
        """How to speak to Temporal: plain, TLS, or TLS with a certificate of our own."""
        if self.temporal_tls_cert is None and self.temporal_tls_ca is None:
            return self.temporal_tls
        return TLSConfig(
            server_root_ca_cert=_read(self.temporal_tls_ca),
            client_cert=_read(self.temporal_tls_cert),
            client_private_key=_read(self.temporal_tls_key),
        )

    @property
    def masking(self) -> Masking:
        """What hides secrets in logs; addresses are hashed under the database's URL."""
        return Masking(self.database_url.get_secret_value())

    @property
    def caps(self) -> Caps:
        """What the workspace may start, over all its definitions."""
        return Caps(open_runs=self.max_open_runs, starts_per_minute=self.max_starts_per_minute)

    def database(self) -> Database:
        """Build the pool of connections; nothing is connected yet.

        It is bound by the policies: what is not in a scope of `db.tenancy` sees no row.
        """
        return Database(
            self.database_url.get_secret_value(),
            pool_size=self.database_pool_size,
            role=SERVICE_ROLE,
            scope=None,
            max_queued_starts=self.max_queued_starts,
        )

    async def connect(
        self,
        *,
        lazy: bool = False,
        runtime: Runtime | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> Client:
        """Connect to Temporal, or with `lazy` at the first call; raises RuntimeError."""
        return await connect(
            self.temporal_address,
            self.temporal_namespace,
            api_key=reveal(self.temporal_api_key),
            tls=self.tls,
            lazy=lazy,
            runtime=runtime,
            codec=self.payload_codec,
            interceptors=interceptors,
        )

    def services(self, database: Database) -> Services:
        """Build what the actions use; call it inside the event loop that runs them."""
        return Services(
            database=database,
            keyring=self.keyring,
            mail=MailConfig.from_url(
                self.smtp_url.get_secret_value(),
                from_address=self.mail_from,
                booking_url=self.booking_url,
                public_url=self.public_url,
                policy=self.mail_policy,
            ),
            mail_hosts=MailHosts(
                allow_cidrs=tuple(self.mail_allow_cidrs), allow_ports=tuple(self.mail_allow_ports)
            ),
            http_config=HttpConfig(
                allow_cidrs=tuple(self.http_allow_cidrs), allow_ports=tuple(self.http_allow_ports)
            ),
            ai=self.ai,
            ai_keep=self.ai_keep,
            masking=self.masking,
            code_enabled=self.code_enabled,
            functions=Functions.load(self.function_modules),
        )


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def load_settings(env_file: Path | None = Path(".env"), **given: Any) -> Settings:
    """Read the settings, `given` above all; raises SettingsError that names each wrong variable.

    Then come the environment, `env_file`, and files of a folder of credentials, one for each
    variable and named like it: `SOJOURN_CREDENTIALS_DIR`, or systemd's `CREDENTIALS_DIRECTORY`.
    """
    names = ("SOJOURN_CREDENTIALS_DIR", "CREDENTIALS_DIRECTORY")
    folder = next((path for name in names if (path := os.environ.get(name))), None)
    if folder is not None and not Path(folder).is_dir():
        raise SettingsError(f"the folder of credentials is not there: {folder}")
    try:
        return Settings(_env_file=env_file, _secrets_dir=folder, **given)  # pyright: ignore[reportCallIssue]
    except ValidationError as error:
        lines = [
            f"{_variable(problem['loc'])} {_said(problem['type'], problem['msg'])}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("settings are missing or wrong:\n  " + "\n  ".join(lines)) from None


def _said(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required"
    return "is wrong: " + message.removeprefix("Value error, ")


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    if name.isupper() or name not in Settings.model_fields:
        return name
    return f"SOJOURN_{name.upper()}"


def database_place(url: str) -> str:
    """Give host, port and name of a database, without the password, for people to read."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"
