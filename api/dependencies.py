"""What the routes are given: database, gateway, catalogue, configuration, who calls.

All are coroutines: FastAPI runs plain functions in threads, and a request would wait for each.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.functions import Functions
from api import auditing
from api.circuit import Circuit
from api.config import ApiConfig
from api.identity import Identity
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import ConflictError
from schemas.keyring import KeyRing
from workflows.gateway import Gateway


async def get_database(request: Request) -> Database:
    """The database of this process."""
    return request.app.state.database


async def get_gateway(request: Request) -> Gateway:
    """The way to Temporal."""
    return request.app.state.gateway


async def get_circuit(request: Request) -> Circuit:
    """Whether Temporal is known to be away."""
    return request.app.state.circuit


async def get_catalogue(request: Request) -> Catalogue:
    """The actions that definitions may name."""
    return request.app.state.catalogue


async def get_config(request: Request) -> ApiConfig:
    """The configuration of the API."""
    return request.app.state.config


async def get_keyring(request: Request) -> KeyRing:
    """The keys of stored connections and secrets; raises ConflictError where none are set."""
    keyring = request.app.state.keyring
    if keyring is None:
        raise ConflictError(
            "this installation has no keys to store secrets with",
            hint="set SOJOURN_SECRET_KEYS on the API and the workers; see docs/connections.md",
        )
    return keyring


async def get_functions(request: Request) -> Functions:
    """The operator's functions that definitions may call."""
    return request.app.state.functions


DatabaseDep = Annotated[Database, Depends(get_database)]
GatewayDep = Annotated[Gateway, Depends(get_gateway)]
CircuitDep = Annotated[Circuit, Depends(get_circuit)]
CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
ConfigDep = Annotated[ApiConfig, Depends(get_config)]
KeyringDep = Annotated[KeyRing, Depends(get_keyring)]
FunctionsDep = Annotated[Functions, Depends(get_functions)]


async def get_identity(request: Request) -> Identity:
    """The caller; there is none at public endpoints."""
    return request.state.identity


IdentityDep = Annotated[Identity, Depends(get_identity)]


async def get_workspace(identity: IdentityDep) -> str:
    """The workspace of the caller."""
    return identity.workspace


async def get_actor(identity: IdentityDep) -> str:
    """The caller as the audit names it."""
    return identity.actor


async def get_session(request: Request, database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    """One transaction, committed before the answer is sent, with what it did in the audit."""
    async with database.session() as session:
        yield session
        auditing.note(request, session)


WorkspaceDep = Annotated[str, Depends(get_workspace)]
ActorDep = Annotated[str, Depends(get_actor)]
# scope=function: with the default the commit would come after the answer, and could fail unseen.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
