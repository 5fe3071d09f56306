"""From what a request carries to who calls: the bootstrap key, stored keys, bearer tokens."""

import hashlib
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import structlog
from fastapi import BackgroundTasks

from api.buckets import Buckets
from api.config import ApiConfig
from api.identity import BOOTSTRAP, ForbiddenError, Identity, UnauthorizedError
from api.tokens import Issuer
from api.users import user_of
from db import api_keys, tenancy
from db.api_keys import ApiKey
from db.base import now
from db.engine import Database
from schemas.errors import ErrorCode, SojournError
from schemas.roles import Role

# Seconds. So long after a key is revoked, or a member removed, it may still pass.
KEPT = 5.0
# From this age on it is looked up again beside a request, so that none has to wait for that.
RENEWED_FROM = 3.0
MOST_KEPT = 10_000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Known:
    """A credential that was good `at` (monotonic); `ends_at` is when it is no good any more."""

    identity: Identity
    at: float
    ends_at: datetime | None = None
    key_id: str | None = None


def too_many(wait: float, what: str) -> SojournError:
    """Give the error for what came too often; `wait` is in seconds."""
    return SojournError(f"too many {what}", code=ErrorCode.RATE_LIMITED, retry_after=max(1.0, wait))


class Credentials:
    """Tells callers by their credentials, and remembers them for some seconds by a digest."""

    def __init__(self, database: Database, config: ApiConfig, issuer: Issuer | None) -> None:
        """Know nobody yet."""
        self._database = database
        self._config = config
        self._issuer = issuer
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._renewing: set[bytes] = set()
        self._used: dict[str, float] = {}
        self._failures = Buckets(config.failures_per_minute)
        self._callers = Buckets(config.rate_limit_per_key)
        self._workspaces = Buckets(config.rate_limit_per_workspace)

    async def identify(self, given: str, address: str, after: BackgroundTasks) -> Identity:
        """Give the caller that a credential belongs to; counts its call.

        What can wait, such as looking a known one up again, is left to `after` the answer.

        Raises UnauthorizedError, RATE_LIMITED, UnavailableError. An `address` from which too many
        bad ones came is refused before anything is looked up or computed for it.
        """
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.at >= KEPT or _ended(known):
            if (wait := self._failures.wait(address)) > 0:
                raise too_many(wait, "bad credentials from this address")
            try:
                known = await self._look(given)
            except (UnauthorizedError, ForbiddenError):
                self._known.pop(digest, None)
                self._failures.take(address)
                raise
            self._keep(digest, known)
        elif time.monotonic() - known.at >= RENEWED_FROM:
            after.add_task(self._renew, digest, given)
        if known.key_id is not None and self._unwritten(known.key_id):
            after.add_task(self._write_use, known.identity.workspace, known.key_id)
        self._count(known.identity)
        return known.identity

    def _count(self, identity: Identity) -> None:
        caller = f"{identity.workspace}/{identity.actor}"
        if (wait := self._callers.take(caller)) > 0:
            raise too_many(wait, "calls with this credential")
        if (wait := self._workspaces.take(identity.workspace)) > 0:
            raise too_many(wait, "calls in this workspace")

    async def _look(self, given: str) -> Known:
        moment = time.monotonic()
        parts = api_keys.split(given)
        if parts is not None:
            return await self._key(*parts, moment)
        if _same(given, self._config.api_key):
            identity = Identity(self._config.workspace, BOOTSTRAP, Role.ADMIN, installation=True)
            return Known(identity, moment)
        if self._issuer is not None and given.count(".") == 2:
            claims = await self._issuer.verify(given)
            identity = await user_of(
                claims, self._issuer.config, self._database, self._config.workspace
            )
            return Known(identity, moment, self._issuer.ends_at(claims))
        raise UnauthorizedError("the API key is wrong")

    async def _key(self, key_id: str, secret: str, moment: float) -> Known:
        with tenancy.system():
            async with self._database.session() as session:
                row = await api_keys.find(session, key_id)
        # A key that is not there takes as long as one that is.
        good = (row or _NOBODY).opens(secret)
        if row is None or not good:
            raise UnauthorizedError("the API key is wrong")
        if row.ends(now()):
            raise UnauthorizedError("the API key has expired or was revoked")
        return Known(identity_of(row), moment, row.expires_at, row.id)

    def _keep(self, digest: bytes, known: Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    async def _renew(self, digest: bytes, given: str) -> None:
        if digest in self._renewing:
            return
        self._renewing.add(digest)
        try:
            self._keep(digest, await self._look(given))
        except SojournError as error:
            # The next request meets the fault itself.
            _log.info("credential_not_renewed", code=error.code)
            self._known.pop(digest, None)
        finally:
            self._renewing.discard(digest)

    def _unwritten(self, key_id: str) -> bool:
        """Whether it is a minute since it was written that a key is used."""
        before = self._used.get(key_id)
        period = api_keys.USED_EVERY.total_seconds()
        return before is None or time.monotonic() - before >= period

    async def _write_use(self, workspace: str, key_id: str) -> None:
        if not self._unwritten(key_id):
            return
        self._used[key_id] = time.monotonic()
        try:
            with tenancy.scope(workspace):
                async with self._database.session() as session:
                    await api_keys.note_use(session, key_id)
        except SojournError as error:
            _log.warning("key_use_not_written", code=error.code)


_NOBODY = ApiKey(
    id="", workspace="", name="", secret_hash="0" * 64, last4="", role=Role.VIEWER, created_by=""
)


def identity_of(row: ApiKey) -> Identity:
    """Give the caller that a stored key stands for."""
    return Identity(
        row.workspace,
        f"key:{row.id}",
        row.role,
        frozenset(row.scopes),
        MappingProxyType({name: Role(role) for name, role in row.grants.items()}),
    )


def _ended(known: Known) -> bool:
    return known.ends_at is not None and known.ends_at <= now()


def _same(given: str, expected: str) -> bool:
    # Digests have one length, so that the comparison tells nothing about the key's.
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(),
        hashlib.sha256(expected.encode()).digest(),
    )
