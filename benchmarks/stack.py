"""The servers of a benchmark: durable PostgreSQL, Temporal, an HTTP target, all on loopback."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from temporalio.client import Client

from db.engine import Database
from db.migrate import upgrade
from dev.errors import StackError
from dev.ports import HOST, any_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from dev.temporal import TemporalServer
from workflows.gateway import Gateway
from workflows.setup import connect, prepare_namespace

ROOT = Path(__file__).resolve().parents[1]
# Seconds. At concurrency 50 on few cores a start may take longer than the API would wait.
_DEADLINE = 60.0
_READY = 60.0


@dataclass
class Stack:
    """Running servers, and the processes started beside them; `children` go first at the end."""

    folder: Path
    postgres: EmbeddedPostgres
    temporal: TemporalServer
    target_url: str
    database: Database
    client: Client
    children: list[Child] = field(default_factory=list)

    @property
    def server_pids(self) -> list[int]:
        """The processes of Temporal and PostgreSQL; their children belong to them."""
        pids = [self.temporal.pid, self.postgres.pid]
        return [pid for pid in pids if pid is not None]

    def gateway(self, queue: str) -> Gateway:
        """Give the product's way to start runs on a task queue."""
        return Gateway(self.client, task_queue=queue, deadline=_DEADLINE)

    def environment(self, **more: str) -> dict[str, str]:
        """Give the environment of a child: the product's settings, and nothing of a developer's."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "SOJOURN_HTTP_ALLOW_CIDRS": "127.0.0.0/8",
            "SOJOURN_HTTP_ALLOW_PORTS": self.target_url.rsplit(":", 1)[1].strip("/"),
            "SOJOURN_LOG_LEVEL": "warning",
            **more,
        }

    @property
    def database_url(self) -> str:
        """The URL of the migrated database."""
        return self.postgres.url("sojourn")

    def spawn(self, module: str, *arguments: str, **environment: str) -> Child:
        """Start `python -m module` in the stack's folder."""
        child = Child(
            module,
            [sys.executable, "-m", module, *arguments],
            log=self.folder / f"{module}-{len(self.children)}.log",
            env=self.environment(**environment),
            cwd=self.folder,
        )
        self.children.append(child)
        return child

    async def start_worker(self, module: str, queue: str, **environment: str) -> Child:
        """Start a worker process and wait until it polls; raises StackError."""
        child = self.spawn(module, SOJOURN_TASK_QUEUE=queue, **environment)
        gateway = self.gateway(queue)
        try:
            async with asyncio.timeout(_READY):
                while not (await gateway.health()).workers:
                    if not child.running:
                        raise StackError(f"{module} ended:\n{child.tail(30)}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StackError(f"{module} does not poll:\n{child.tail(30)}") from None
        return child

    def stop(self, child: Child) -> None:
        """Stop a child."""
        child.stop()
        self.children.remove(child)


@asynccontextmanager
async def running_stack() -> AsyncIterator[Stack]:
    """Start everything in a folder of its own; ends each process by its pid, then the folder."""
    folder = Path(tempfile.mkdtemp(prefix="sojourn-benchmark-"))
    postgres = EmbeddedPostgres(folder / "postgres", durable=True)
    temporal = TemporalServer(folder / "temporal")
    stack: Stack | None = None
    try:
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(temporal.start)
        connection = await asyncpg.connect(postgres.url())
        await connection.execute('CREATE DATABASE "sojourn"')
        await connection.close()
        await upgrade(postgres.url("sojourn"))
        client = await connect(temporal.address)
        await prepare_namespace(client)
        port = any_port()
        stack = Stack(
            folder=folder,
            postgres=postgres,
            temporal=temporal,
            target_url=f"http://{HOST}:{port}/",
            database=Database(postgres.url("sojourn")),
            client=client,
        )
        target = stack.spawn("benchmarks.target", str(port))
        await asyncio.to_thread(target.wait_until, lambda: target.listens_on(port))
        yield stack
    finally:
        if stack is not None:
            for child in reversed(stack.children):
                child.stop()
            await stack.database.close()
        temporal.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
