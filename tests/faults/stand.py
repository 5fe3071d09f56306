"""Processes that a fault test may kill: PostgreSQL, Temporal, workers and APIs of its own."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from httpx2 import AsyncClient, HTTPError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from db.engine import Database
from db.migrate import upgrade
from dev.ports import HOST, any_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from dev.temporal import TemporalServer
from schemas.run import TERMINAL
from tests.servers.smtp_server import SlowSmtp
from workflows.setup import connect, prepare_namespace

API_KEY = "fault-key-0123456789"
DEADLINE = 180.0
TIMESCALE = 259_200  # three days pass in one second
_PROGRAM = str(Path(sys.executable).parent / "sojourn")
# Notes every change of a status that was final; a test that undoes one on purpose says so to
# PostgreSQL.
_WATCH_FINAL = f"""
CREATE TABLE final_changes (run_id text, was text, became text);
CREATE FUNCTION note_final() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF OLD.status IN ({", ".join(f"'{status.value}'" for status in TERMINAL)})
        AND NEW.status IS DISTINCT FROM OLD.status
    THEN
        INSERT INTO final_changes VALUES (OLD.id, OLD.status, NEW.status);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note_final AFTER UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION note_final();
"""
_ROOT = Path(__file__).resolve().parents[2]


async def until(
    condition: Callable[[], Awaitable[object]], what: str, deadline: float = DEADLINE
) -> None:
    """Poll a condition; fails with `what` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not await condition():
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Stand:
    """Everything Sojourn needs, each part a process; the mail server lives in the test."""

    folder: Path
    postgres: EmbeddedPostgres
    temporal: TemporalServer
    client: Client
    database: Database
    smtp: SlowSmtp

    def __post_init__(self) -> None:
        self.api_port = any_port()
        self.worker: Child | None = None
        self.api_process: Child | None = None

    @classmethod
    async def start(cls, folder: Path, smtp: SlowSmtp) -> "Stand":
        """Start PostgreSQL, durable as in production, and Temporal, both with data in `folder`."""
        postgres = EmbeddedPostgres(folder / "postgres", durable=True)
        temporal = TemporalServer(folder / "temporal")
        try:
            await asyncio.gather(
                asyncio.to_thread(postgres.start), asyncio.to_thread(temporal.start)
            )
            connection = await asyncpg.connect(postgres.url())
            await connection.execute("CREATE DATABASE sojourn")
            await connection.close()
            await upgrade(postgres.url("sojourn"))
            connection = await asyncpg.connect(postgres.url("sojourn"))
            await connection.execute(_WATCH_FINAL)
            await connection.close()
            client = await connect(temporal.address)
            await prepare_namespace(client)
        except BaseException:
            temporal.stop()
            postgres.stop()
            raise
        database = Database(postgres.url("sojourn"))
        return cls(folder, postgres, temporal, client, database, smtp)

    async def final_changes(self) -> list[tuple[str, str, str]]:
        """Give the runs whose final status has changed, with what it was and what it became."""
        connection = await asyncpg.connect(self.postgres.url("sojourn"))
        try:
            found = await connection.fetch("SELECT run_id, was, became FROM final_changes")
        finally:
            await connection.close()
        return [tuple(row) for row in found]

    async def stop(self) -> None:
        """End every process that was started."""
        for child in (self.worker, self.api_process):
            if child is not None:
                child.kill()
        await self.database.close()
        self.temporal.kill()
        await asyncio.to_thread(self.postgres.stop)

    def _spawn(self, command: str, settings: dict[str, str]) -> Child:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        own = {
            "PYTHONPATH": str(_ROOT),
            "DATABASE_URL": self.postgres.url("sojourn"),
            "TEMPORAL_ADDRESS": self.temporal.address,
            "SMTP_URL": self.smtp.url,
            "SOJOURN_API_KEY": API_KEY,
            "SOJOURN_PORT": str(self.api_port),
            "SOJOURN_MAIL_FROM": "Sojourn <sojourn@example.com>",
            "SOJOURN_BOOKING_URL": "https://booking.example.com/meet",
            "SOJOURN_TIMESCALE": str(TIMESCALE),
            "SOJOURN_LOG_LEVEL": "warning",
        }
        return Child(
            command,
            [_PROGRAM, command],
            log=self.folder / f"{command}.log",
            env={**kept, **own, **settings},
            cwd=self.folder,
        )

    # -- worker ------------------------------------------------------------------------------

    async def start_worker(self, **settings: str) -> None:
        """Start `sojourn worker` and wait until this very process polls."""
        assert self.worker is None, "one worker at a time"
        self.worker = child = self._spawn("worker", settings)

        async def polls() -> bool:
            assert child.running, child.tail(30)
            return child.pid in await self._pollers()

        await until(polls, "the worker polls")

    async def start_other_worker(self, **settings: str) -> Child:
        """Start one more worker, and wait until it polls; whoever asked for it ends it."""
        child = self._spawn("worker", settings)

        async def polls() -> bool:
            assert child.running, child.tail(30)
            return child.pid in await self._pollers()

        try:
            await until(polls, "the other worker polls")
        except BaseException:
            child.kill()
            raise
        return child

    async def _pollers(self) -> set[int]:
        """Give the pids that poll for activities; dead ones stay in the list for minutes."""
        answer = await self.client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self.client.namespace,
                task_queue=TaskQueue(name="sojourn"),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            )
        )
        return {int(poller.identity.split("@")[0]) for poller in answer.pollers}

    def kill_worker(self) -> None:
        """End the worker with SIGKILL."""
        assert self.worker is not None
        self.worker.kill()
        self.worker = None

    # -- API ---------------------------------------------------------------------------------

    def spawn_api(self, **settings: str) -> Child:
        """Start `sojourn api`."""
        self.api_process = self._spawn("api", settings)
        return self.api_process

    async def start_api(self, **settings: str) -> None:
        """Start `sojourn api` and wait until it answers."""
        assert self.api_process is None, "one API at a time"
        child = self.spawn_api(**settings)

        async def answers() -> bool:
            assert child.running, child.tail(30)
            async with self.api() as api:
                try:
                    return (await api.get("/healthz")).status_code == 200
                except HTTPError:
                    return False

        await until(answers, "the API answers")

    async def start_other_api(self) -> Child:
        """Start one more API process, on a port of its own; whoever asked for it ends it."""
        child = self._spawn("api", {"SOJOURN_PORT": str(port := any_port())})

        async def answers() -> bool:
            assert child.running, child.tail(30)
            return child.listens_on(port)

        await until(answers, "the other API listens")
        return child

    def kill_api(self) -> None:
        """End the API with SIGKILL."""
        assert self.api_process is not None
        self.api_process.kill()
        self.api_process = None

    def api(self) -> AsyncClient:
        """Give a client of the API with its key."""
        return AsyncClient(
            base_url=f"http://{HOST}:{self.api_port}",
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=60.0,
        )

    # -- servers -----------------------------------------------------------------------------

    async def crash_postgres(self) -> None:
        """End PostgreSQL in its immediate mode: no checkpoint, connections cut."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGQUIT)

        async def gone() -> bool:
            return not self.postgres.running

        await until(gone, "PostgreSQL has ended", 10)
        self.postgres.stop()

    async def restart_postgres(self) -> None:
        """Start PostgreSQL again, which recovers from its log."""
        await asyncio.to_thread(self.postgres.start)

    def kill_temporal(self) -> None:
        """End Temporal with SIGKILL."""
        self.temporal.kill()

    async def restart_temporal(self) -> None:
        """Start Temporal again, on the file that the killed one left."""
        await asyncio.to_thread(self.temporal.start)
