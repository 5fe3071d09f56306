"""The worker processes: one runs definitions and actions, one reads mailboxes."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

import uvicorn
from opentelemetry.trace import NoOpTracer, Tracer
from prometheus_client import generate_latest
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities import ai
from activities.mail_polling import MailPoller
from activities.registry import load
from db import tenancy, workspaces
from db.engine import Database
from process import QuietServer, SchemaWatch, main_of, stop_on_signals
from schemas.errors import SojournError
from settings import Settings
from telemetry import Otlp, Telemetry
from workflows.worker_options import build_worker

_log = logging.getLogger("sojourn.worker")
# Seconds between attempts to reach Temporal at start, and after the grace period until a worker
# that does not close is ended.
_RETRY = 2.0
_STUCK = 10.0


async def connect_when_there(settings: Settings, telemetry: Telemetry, otlp: Otlp) -> Client:
    """Connect to Temporal, trying again until it answers."""
    while True:
        try:
            return await settings.connect(runtime=telemetry.runtime, interceptors=otlp.interceptors)
        except (RuntimeError, RPCError) as error:
            _log.warning("no Temporal at %s yet: %s", settings.temporal_address, error)
            await asyncio.sleep(_RETRY)


async def work(settings: Settings, client: Client, database: Database, stop: asyncio.Event) -> None:
    """Run one worker until `stop` is set, then let its activities finish.

    Raises what the worker died of.
    """
    services = settings.services(database)
    if services.ai.configured:
        # Before the first task is taken: imports of seconds beside running workflows stall them.
        await ai.preload()
        _log.info("AI libraries are loaded")
    worker = build_worker(
        client,
        load().activities(services),
        task_queue=settings.task_queue,
        max_cached_workflows=settings.max_cached_workflows,
        sandboxed=settings.workflow_sandbox,
        max_concurrent_activities=settings.max_concurrent_activities,
        graceful_shutdown=timedelta(seconds=settings.shutdown_grace),
        sticky_timeout=timedelta(seconds=settings.sticky_timeout),
        deployment=settings.deployment,
        tasks=settings.worker_tasks,
    )
    try:
        await _run(worker, stop, settings.shutdown_grace + _STUCK)
    finally:
        await services.aclose()


async def _run(worker: Worker, stop: asyncio.Event, limit: float) -> None:
    running = asyncio.create_task(worker.run())
    stopping = asyncio.create_task(stop.wait())
    _log.info("worker polls %r", worker.task_queue)
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        async with asyncio.timeout(limit):
            await worker.shutdown()
    await running


def _metrics_server(settings: Settings, telemetry: Telemetry, client: Client) -> QuietServer:
    async def metrics(_: Request) -> Response:
        text = await asyncio.to_thread(telemetry.render)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def healthz(_: Request) -> Response:
        healthy = False
        with suppress(TimeoutError, RPCError, RuntimeError):
            async with asyncio.timeout(1.0):
                healthy = await client.service_client.check_health()
        status = "ok" if healthy else "Temporal does not answer"
        return JSONResponse({"status": status}, 200 if healthy else 503)

    app = Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])
    server = QuietServer(
        uvicorn.Config(
            app,
            host=settings.metrics_host,
            port=settings.metrics_port or 0,
            log_config=None,
            lifespan="off",
            server_header=False,
        )
    )
    return server


async def serve(settings: Settings) -> None:
    """Run the worker process: the worker, and its metrics where a port is set."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    otlp = Otlp(settings, "worker")
    telemetry = Telemetry()
    connecting = asyncio.create_task(connect_when_there(settings, telemetry, otlp))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not connecting.done():
        connecting.cancel()
        return
    client = connecting.result()
    database = settings.database()
    watch = SchemaWatch(database, stop)
    await watch.begin()
    pages: asyncio.Task[None] | None = None
    server: QuietServer | None = None
    if settings.metrics_port is not None:
        server = _metrics_server(settings, telemetry, client)
        pages = asyncio.create_task(server.serve())
    try:
        async with otlp.pushing(lambda: asyncio.to_thread(telemetry.render)):
            await work(settings, client, database, stop)
            await watch.end()
    finally:
        if server is not None and pages is not None:
            server.should_exit = True
            await pages
        await database.close()


async def poll_mail(settings: Settings) -> None:
    """Read the mailboxes of all workspaces until told to stop; Temporal is not needed.

    Runs that wait for a reply are told by the API process.
    """
    stop = asyncio.Event()
    stop_on_signals(stop)
    database = settings.database()
    otlp = Otlp(settings, "mail-poller")
    try:
        async with otlp.pushing(lambda: asyncio.to_thread(generate_latest)):
            await read_mailboxes(settings, database, stop, otlp.tracer)
    finally:
        await database.close()


async def read_mailboxes(
    settings: Settings, database: Database, stop: asyncio.Event, tracer: Tracer | None = None
) -> None:
    """Read the mailboxes of all workspaces, again and again until `stop` is set.

    With a `tracer` each look into those of a workspace is a span.
    """
    looks = tracer or NoOpTracer()
    services = settings.services(database)
    vault, targets = services.vault, services.mail_targets
    stopping = asyncio.create_task(stop.wait())
    _log.info("mail poller reads the mailboxes of all workspaces")
    try:
        while not stop.is_set():
            try:
                with tenancy.system():
                    async with database.session() as session:
                        names = await workspaces.names(session, settings.workspace)
            except (SojournError, SQLAlchemyError, OSError) as error:
                _log.warning("mailboxes are read later: %s", error)
                names = []
            for name in names:
                try:
                    with (
                        tenancy.scope(name),
                        looks.start_as_current_span(
                            "ReadMailboxes", attributes={"sojourn.workspace": name}
                        ),
                    ):
                        await MailPoller(database, vault, name, targets=targets).once()
                except (SojournError, SQLAlchemyError, OSError) as error:
                    _log.warning("mailboxes of %r are read later: %s", name, error)
            await asyncio.wait({stopping}, timeout=settings.mail_poll_every)
    finally:
        stopping.cancel()
        await services.aclose()


def poller_main() -> None:
    """Run the mail poller with the settings of the environment."""
    main_of("mail-poller", poll_mail)


def main() -> None:
    """Run the worker with the settings of the environment."""
    main_of("worker", serve)


if __name__ == "__main__":
    main()
