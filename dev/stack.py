"""The whole of Sojourn on one machine: servers as child processes, the rest in this one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncpg
from httpx2 import AsyncClient, HTTPError
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.client import Client

from db.engine import Database
from db.migrate import upgrade
from dev.errors import StackError
from dev.examples import publish_examples
from dev.home import Home
from dev.keys import admin_key
from dev.mailbox import Mail, Mailbox
from dev.pages import mailbox_pages
from dev.ports import HOST, PortClaims
from dev.postgres import EmbeddedPostgres
from dev.temporal import TemporalServer
from process import QuietServer
from schemas.errors import SojournError
from server import build_app, build_server
from settings import Settings, database_place, load_settings
from telemetry import Telemetry, configure_logging
from worker import read_mailboxes, work
from workflows.setup import prepare_namespace

_DATABASE = "sojourn"
# Seconds for a server of the user's own to answer, for everything to be ready, and between looks
# at whether all servers are still there.
_CONNECT = 10.0
_READY = 60.0
_WATCH = 0.5
_SHUTDOWN_GRACE = 5.0
_log = logging.getLogger("sojourn.dev")


class Given(BaseSettings):
    """Servers that the user has already, from the environment or `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "SOJOURN_DATABASE_URL")
    )
    temporal_address: str | None = Field(
        default=None, validation_alias=AliasChoices("TEMPORAL_ADDRESS", "SOJOURN_TEMPORAL_ADDRESS")
    )
    http_allow_cidrs: str | None = Field(default=None, validation_alias="SOJOURN_HTTP_ALLOW_CIDRS")
    mail_allow_cidrs: str | None = Field(default=None, validation_alias="SOJOURN_MAIL_ALLOW_CIDRS")
    secret_keys: SecretStr | None = Field(default=None, validation_alias="SOJOURN_SECRET_KEYS")
    payload_keys: SecretStr | None = Field(default=None, validation_alias="SOJOURN_PAYLOAD_KEYS")
    ui_origin: str | None = Field(default=None, validation_alias="SOJOURN_TEMPORAL_UI_ORIGIN")


@dataclass(frozen=True)
class Options:
    """What `sojourn dev` was asked for; `timescale` divides every timer."""

    home: Path
    port: int = 8000
    timescale: float = 1.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Stack:
    """Everything that `sojourn dev` starts; `stop` ends whatever `start` had got to."""

    def __init__(
        self,
        options: Options,
        *,
        say: Callable[[str], None],
        on_mail: Callable[[Mail], None] | None = None,
    ) -> None:
        """Plan a stack; `say` gets one line for each thing that is worth telling."""
        self.home = Home(options.home)
        self._options = options
        self._say = say
        self._on_mail = on_mail
        self._given = Given()
        self._stopping = asyncio.Event()
        self._closers: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._watched: list[asyncio.Task[None]] = []
        self._ports = PortClaims()
        self._children: list[EmbeddedPostgres | TemporalServer] = []
        self.settings: Settings
        self.urls: dict[str, str] = {}
        self.key = ""

    async def start(self) -> None:
        """Start everything, in order; raises StackError in words for the user."""
        self.home.open()
        self._closers.append(("folder", _async(self.home.close)))
        self._closers.append(("ports", _async(self._ports.release)))
        database_url = await self._start_postgres()
        address = await self._start_temporal()
        mailbox = await self._start_mailbox()
        self.settings = self._settings(database_url, address, mailbox)
        configure_logging(self.settings)
        telemetry = Telemetry()
        client = await self._connect(telemetry)
        await self._start_worker(client)
        await self._start_mail_poller()
        await self._start_api(client, telemetry, mailbox)
        await self._finish(address, database_url, mailbox)

    async def stop(self) -> None:
        """Stop everything that was started, the last one first."""
        self._stopping.set()
        while self._closers:
            name, close = self._closers.pop()
            try:
                await close()
            except Exception:
                # The others must be stopped all the same.
                _log.exception("%s did not stop cleanly", name)

    async def watch(self) -> None:
        """Return never while all is well; raises StackError when a part has died."""
        while True:
            for child in self._children:
                if not child.running:
                    raise StackError(
                        f"{child.name} has died:\n{child.tail()}", f"its log is {child.log}"
                    )
            for task in self._watched:
                if task.done():
                    task.result()
                    raise StackError(f"the {task.get_name()} has ended by itself")
            await asyncio.sleep(_WATCH)

    def api(self) -> AsyncClient:
        """Give a client of the running API."""
        key = self.settings.api_key
        headers = {"X-API-Key": key.get_secret_value() if key else ""}
        return AsyncClient(base_url=self.urls["API"], headers=headers, timeout=30.0)

    def _pick(self, wanted: int, what: str) -> int:
        port = self._ports.pick(wanted)
        if port != wanted:
            self._say(f"port {wanted} is taken: {what} uses {port}")
        return port

    async def _start_postgres(self) -> str:
        if self._given.database_url is not None:
            url = self._given.database_url.get_secret_value()
            await _migrate(url, "set DATABASE_URL to a PostgreSQL that can be reached")
            return url
        server = EmbeddedPostgres(
            self.home.folder / "postgres", port=self._pick(5432, "PostgreSQL")
        )
        self._closers.append(("PostgreSQL", lambda: asyncio.to_thread(server.stop)))
        await asyncio.to_thread(server.start)
        self._children.append(server)
        await _create_database(server.url())
        url = server.url(_DATABASE)
        await _migrate(url, f"its log is {server.log}")
        return url

    async def _start_temporal(self) -> str:
        if self._given.temporal_address is not None:
            return self._given.temporal_address
        server = TemporalServer(
            self.home.folder / "temporal",
            port=self._pick(7233, "Temporal"),
            ui_port=self._pick(8233, "Temporal's Web UI"),
        )
        self._closers.append(("Temporal", lambda: asyncio.to_thread(server.stop)))
        await asyncio.to_thread(server.start)
        self._children.append(server)
        self.urls["Temporal Web UI"] = server.ui_url or ""
        return server.address

    async def _start_mailbox(self) -> Mailbox:
        mailbox = Mailbox(
            port=self._pick(1025, "the mailbox"),
            folder=self.home.folder / "mail",
            on_mail=self._on_mail,
        )
        await mailbox.start()
        self._closers.append(("mailbox", mailbox.stop))
        return mailbox

    def _settings(self, database_url: str, address: str, mailbox: Mailbox) -> Settings:
        port = self._pick(self._options.port, "the API")
        own: dict[str, Any] = {}
        if self._given.http_allow_cidrs is None:
            # Definitions in development call services on this machine, on whatever port.
            own = {"http_allow_cidrs": ["127.0.0.0/8"], "http_allow_ports": [*range(1024, 65536)]}
        if self._given.mail_allow_cidrs is None:
            own |= {"mail_allow_cidrs": ["127.0.0.0/8"], "mail_allow_ports": [*range(1024, 65536)]}
        if self._given.ui_origin is None and "Temporal Web UI" in self.urls:
            own["temporal_ui_origin"] = self.urls["Temporal Web UI"]
        return load_settings(
            database_url=SecretStr(database_url),
            temporal_address=address,
            smtp_url=SecretStr(mailbox.url),
            api_key=SecretStr(self.home.api_key()),
            secret_keys=self._given.secret_keys or SecretStr(self.home.secret_keys()),
            payload_keys=self._given.payload_keys or SecretStr(self.home.payload_keys()),
            host=HOST,
            port=port,
            public_url=f"http://{HOST}:{port}",
            booking_url=f"http://{HOST}:{port}/book",
            mail_from="Sojourn <sojourn@localhost.localdomain>",
            timescale=self._options.timescale,
            shutdown_grace=_SHUTDOWN_GRACE,
            log_level=self._options.log_level,
            **own,
        )

    async def _connect(self, telemetry: Telemetry) -> Client:
        address = self.settings.temporal_address
        try:
            async with asyncio.timeout(_CONNECT):
                client = await self.settings.connect(runtime=telemetry.runtime)
                await prepare_namespace(client)
        except (TimeoutError, RuntimeError) as error:
            raise StackError(
                f"Temporal does not answer at {address}: {error or 'no answer in time'}",
                "unset TEMPORAL_ADDRESS to use the embedded one",
            ) from error
        return client

    async def _start_worker(self, client: Client) -> None:
        database = self.settings.database()
        stop = asyncio.Event()
        self._run("worker", database, stop, work(self.settings, client, database, stop))

    async def _start_mail_poller(self) -> None:
        database = self.settings.database()
        stop = asyncio.Event()
        self._run("mail poller", database, stop, read_mailboxes(self.settings, database, stop))

    def _run(
        self, name: str, database: Database, stop: asyncio.Event, work: Coroutine[Any, Any, None]
    ) -> None:
        """Run a part in this process until the stack stops."""
        task = asyncio.create_task(work, name=name)
        self._watched.append(task)

        async def close() -> None:
            stop.set()
            try:
                await task
            finally:
                await database.close()

        self._closers.append((name, close))

    async def _start_api(self, client: Client, telemetry: Telemetry, mailbox: Mailbox) -> None:
        database: Database = self.settings.database()
        app = build_app(self.settings, database=database, client=client, telemetry=telemetry)
        app.mount("/dev", mailbox_pages(mailbox))
        server: QuietServer = build_server(self.settings, app)
        task = asyncio.create_task(server.serve(), name="API")
        self._watched.append(task)

        async def close() -> None:
            server.should_exit = True
            try:
                await task
            finally:
                await database.close()

        self._closers.append(("API", close))
        self.urls = {"API": self.settings.base_url, **self.urls}
        self.urls["API docs"] = f"{self.settings.base_url}/api/v1/docs"
        self.urls["Mailbox"] = f"{self.settings.base_url}/dev/mailbox"

    async def _finish(self, address: str, database_url: str, mailbox: Mailbox) -> None:
        async with self.api() as api:
            await self._wait_until_ready(api)
            published = await publish_examples(api)
        self.key = await admin_key(self.home, database_url, self.settings.workspace)
        self.home.write_env(
            {
                "SOJOURN_URL": self.settings.base_url,
                "SOJOURN_API_KEY": self.key,
                "TEMPORAL_ADDRESS": address,
                "DATABASE_URL": database_url,
                "SMTP_URL": mailbox.url,
            }
        )
        self._say(f"published the examples {', '.join(published)}")
        self._say(f"PostgreSQL is at {database_place(database_url)}, Temporal at {address}")
        if self._given.http_allow_cidrs is None:
            self._say("http steps may reach 127.0.0.0/8 (SOJOURN_HTTP_ALLOW_CIDRS changes that)")

    async def _wait_until_ready(self, api: AsyncClient) -> None:
        last = "no answer"
        try:
            async with asyncio.timeout(_READY):
                while True:
                    for task in self._watched:
                        if task.done():
                            task.result()
                            raise StackError(f"the {task.get_name()} ended while it started")
                    try:
                        answer = await api.get("/readyz")
                        last = answer.text
                        if answer.status_code == 200:
                            return
                    except HTTPError as error:
                        last = str(error)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StackError(f"not ready after {_READY:g} s: {last}") from None


def _async(call: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        call()

    return run


async def _create_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", _DATABASE)
        if not found:
            await connection.execute(f'CREATE DATABASE "{_DATABASE}"')
    finally:
        await connection.close()


async def _migrate(url: str, hint: str) -> None:
    try:
        await upgrade(url)
    except SojournError as error:
        place = database_place(url)
        raise StackError(f"{error.message} ({place})", error.hint or hint) from error
    except (OSError, asyncpg.PostgresError) as error:
        raise StackError(f"PostgreSQL at {database_place(url)}: {error}", hint) from error
