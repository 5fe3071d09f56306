"""The API process: HTTP over the database and Temporal, and the reconciler."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

from activities.functions import Functions
from activities.probing import Prober
from activities.registry import Registry, load
from api.app import create_app
from api.audit_seals import run_audit_seals
from api.bulk_jobs import BulkDesk, run_bulk_jobs
from api.config import ApiConfig
from api.fetching import fetcher
from api.outbox import run_outbox
from api.queue_gauges import QueueGauges
from api.reconciler import run_reconciler
from api.rolling import run_rolling
from api.schedules import run_scheduler
from api.starting import Starter
from api.tenants import Tenants
from db import tenancy
from db.engine import Database
from process import QuietServer, SchemaWatch, main_of, stop_on_signals
from schemas.actions import ParameterCheck, ParameterFault
from settings import Settings, SettingsError
from settings_ai import reveal
from telemetry import MeteredGateway, MeteringMiddleware, Otlp, Telemetry
from testing.server import NoServerError
from testing.simulator import Simulator

# Seconds that open answers, event streams among them, get at a stop.
_GRACE = 5


def build_app(
    settings: Settings, *, database: Database, client: Client, telemetry: Telemetry
) -> FastAPI:
    """Build the API with its reconciler; raises SettingsError without an API key."""
    key = reveal(settings.api_key)
    if key is None:
        raise SettingsError("settings are missing or wrong:\n  SOJOURN_API_KEY is required")
    gateway = MeteredGateway(
        telemetry,
        client,
        task_queue=settings.task_queue,
        fairness_weight=settings.fairness_weight,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starter = Starter(database, gateway, config, registry, app.state.circuit)
        tenants = Tenants(database, config.workspace)
        desk = BulkDesk(database, gateway, registry, config.workspace)
        # They look after every workspace; most of them enter one after the other.
        with tenancy.system():
            loops = [
                asyncio.create_task(
                    run_reconciler(
                        database,
                        gateway,
                        every=settings.reconcile_every,
                        keep=settings.ai_keep,
                    )
                ),
                asyncio.create_task(run_outbox(starter, tenants)),
                asyncio.create_task(run_rolling(database, tenants)),
                asyncio.create_task(run_audit_seals(database)),
                asyncio.create_task(run_bulk_jobs(desk, tenants)),
                asyncio.create_task(run_scheduler(database, gateway, tenants)),
            ]
        yield
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        await services.aclose()

    services = settings.services(database)
    functions = services.functions
    registry = load({"function": _of_caller(functions, settings.workspace)})
    config = ApiConfig(
        api_key=key,
        workspace=settings.workspace,
        public_url=settings.public_url,
        booking_url=settings.booking_url,
        timescale=settings.timescale,
        caps=settings.caps,
        render_metrics=telemetry.render,
        ai_keep=settings.ai_keep,
        ai_daily=settings.ai_daily,
        masking=settings.masking,
        temporal_ui_origin=settings.temporal_ui_origin,
        rate_limit_per_key=settings.rate_limit_per_key,
        rate_limit_per_workspace=settings.rate_limit_per_workspace,
        failures_per_minute=settings.rate_limit_failures,
        oidc=settings.oidc,
        revision=settings.interpreter_revision,
    )
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=registry,
        config=config,
        lifespan=lifespan,
        simulator=_simulator(registry),
        keyring=settings.keyring,
        functions=functions,
        prober=Prober(lambda: services.http, lambda: services.ai_http, mail=services.mail_targets),
        fetch=fetcher(lambda: services.http),
    )
    app.add_middleware(MeteringMiddleware, telemetry=telemetry)
    return app


def _of_caller(functions: Functions, home: str) -> ParameterCheck:
    """Check function steps against what the workspace at hand may call."""

    def check(params: Mapping[str, Any]) -> Iterator[ParameterFault]:
        here = tenancy.current()
        return functions.find_faults(home if here in (None, tenancy.EVERY) else here, params)

    return check


def _simulator(registry: Registry) -> Simulator | None:
    """Give what runs simulations, where the time-skipping server is installed."""
    try:
        return Simulator(registry)
    except NoServerError:
        return None


def build_server(settings: Settings, app: FastAPI) -> QuietServer:
    """Build the HTTP server; it does not listen yet."""
    return QuietServer(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )


async def serve(settings: Settings) -> None:
    """Run the API process until it is told to stop."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    otlp = Otlp(settings, "api")
    telemetry = Telemetry(otlp.tracer)
    database = settings.database()
    watch = SchemaWatch(database, stop)
    await watch.begin()
    # Lazily, so that the API boots without Temporal.
    client = await settings.connect(
        lazy=True, runtime=telemetry.runtime, interceptors=otlp.interceptors
    )
    app = build_app(settings, database=database, client=client, telemetry=telemetry)
    server = build_server(settings, app)

    async def page() -> bytes:
        gauges: QueueGauges = app.state.queue_gauges
        return b"".join(await asyncio.gather(asyncio.to_thread(telemetry.render), gauges.render()))

    try:
        async with otlp.pushing(page):
            serving = asyncio.create_task(server.serve())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            server.should_exit = True
            await serving
            await watch.end()
    finally:
        await database.close()


def main() -> None:
    """Run the API with the settings of the environment."""
    main_of("api", serve)


if __name__ == "__main__":
    main()
