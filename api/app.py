"""The FastAPI application: everything it needs comes in as an argument."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import Depends, FastAPI

from activities.functions import Functions
from activities.probing import Prober
from api.auth import authenticate
from api.circuit import Circuit
from api.codec_cors import CodecCorsMiddleware
from api.config import ApiConfig
from api.content import refuse_unstorable
from api.correlation import CorrelationMiddleware
from api.credentials import Credentials
from api.errors import add_error_handlers
from api.guard import GuardMiddleware
from api.headers import HeadersMiddleware
from api.jwks import Fetch, KeySet
from api.models.codec import MAX_BYTES as MAX_CODEC_BYTES
from api.openapi import TAGS, describe
from api.queue_gauges import QueueGauges
from api.routes import api_router, process_router
from api.simulation import Simulator
from api.tenants import Tenants
from api.tokens import Issuer, OidcConfig
from db.engine import Database
from schemas.actions import Catalogue
from schemas.bundle import MAX_BYTES
from schemas.keyring import KeyRing
from workflows.gateway import Gateway

# Events that are stored at once.
_PUBLISHING = 4
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def create_app(
    *,
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
    config: ApiConfig,
    lifespan: Lifespan | None = None,
    simulator: Simulator | None = None,
    keyring: KeyRing | None = None,
    prober: Prober | None = None,
    functions: Functions | None = None,
    fetch: Fetch | None = None,
) -> FastAPI:
    """Build the API over a database and a gateway; `lifespan` belongs to the composition root.

    Without a `simulator` or a `prober` the operations that need it answer 501, without a `keyring`
    those that store or open secrets answer 409. `fetch` gets the keys of an OIDC issuer.

    Nothing is connected here: the app answers 503 for what is away, and recovers by itself.
    """
    app = FastAPI(
        title="Sojourn",
        summary="Durable workflows written as data.",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(authenticate), Depends(refuse_unstorable)],
        lifespan=lifespan,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.database = database
    app.state.gateway = gateway
    app.state.circuit = Circuit(gateway)
    app.state.publishing = asyncio.Semaphore(_PUBLISHING)
    app.state.queue_gauges = QueueGauges(database, gateway, Tenants(database, config.workspace))
    app.state.catalogue = catalogue
    app.state.config = config
    app.state.credentials = Credentials(database, config, _issuer(config.oidc, fetch))
    app.state.simulator = simulator
    app.state.keyring = keyring
    app.state.prober = prober
    app.state.functions = functions or Functions()
    add_error_handlers(app)
    app.include_router(api_router, prefix="/api/v1")
    app.include_router(process_router)
    describe(app, server=config.public_url)
    # The last one added is the outermost: the guard answers within the request id.
    app.add_middleware(
        GuardMiddleware,
        max_body_bytes=config.max_body_bytes,
        larger={
            "/api/v1/import": max(MAX_BYTES, config.max_body_bytes),
            "/api/v1/codec/decode": max(MAX_CODEC_BYTES, config.max_body_bytes),
        },
    )
    app.add_middleware(CodecCorsMiddleware, origin=config.temporal_ui_origin)
    app.add_middleware(HeadersMiddleware, secure=(config.public_url or "").startswith("https://"))
    app.add_middleware(CorrelationMiddleware)
    return app


def _issuer(oidc: OidcConfig | None, fetch: Fetch | None) -> Issuer | None:
    if oidc is None:
        return None
    if fetch is None:
        raise ValueError("tokens of an issuer need what fetches its keys")
    return Issuer(oidc, KeySet(oidc.issuer, oidc.jwks_url, fetch))
