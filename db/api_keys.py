"""API keys: `wf_live_<id>_<secret>`, of which the id and the SHA-256 of the secret are stored.

A plain hash is enough: the secret is 32 random bytes, which nobody guesses (OWASP ASVS 5.0, 6.5.2).
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from schemas.errors import ConflictError, NotFoundError
from schemas.roles import Role

PREFIX = "wf_live_"
# `last_used_at` is written at most this often: using a key is no reason to write each time.
USED_EVERY = timedelta(seconds=60)
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LETTERS = 12
_SECRET_BYTES = 32
# 62 ** 43 is the first power of 62 over 256 ** 32.
_SECRET_LETTERS = 43
_KEY = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_ID_LETTERS}}})_([0-9A-Za-z]{{{_SECRET_LETTERS}}})")


class ApiKey(SQLModel, table=True):
    """A key of one workspace; `grants` has roles by definition, no scopes are every scope.

    `last4` are the secret's last letters, for people to tell keys apart. `rotated_to` names the
    key that takes over.
    """

    __tablename__ = "api_keys"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index("ix_api_keys_list", "workspace", "created_at", "id"),)

    id: str = Field(primary_key=True)
    workspace: str
    name: str
    secret_hash: str
    last4: str
    role: Role = Field(sa_type=enum_type(Role))
    scopes: list[str] = Field(default_factory=list, sa_type=JSON_TEXT)
    grants: dict[str, str] = Field(default_factory=dict, sa_type=JSON_TEXT)
    created_by: str
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_to: str | None = None

    @property
    def prefix(self) -> str:
        """What of the key is shown."""
        return f"{PREFIX}{self.id}"

    def ends(self, at: datetime) -> bool:
        """Whether the key is no good any more at a moment."""
        return self.revoked_at is not None or (
            self.expires_at is not None and self.expires_at <= at
        )

    def opens(self, secret: str) -> bool:
        """Whether the secret is the key's, in a time that does not depend on it."""
        return hmac.compare_digest(_hash(secret), self.secret_hash)


def split(text: str) -> tuple[str, str] | None:
    """Give id and secret of a key's text, None for a text of another form."""
    found = _KEY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _letters(number: int, count: int) -> str:
    text = ""
    for _ in range(count):
        number, rest = divmod(number, 62)
        text = _ALPHABET[rest] + text
    return text


def create(session: AsyncSession, **values: object) -> tuple[ApiKey, str]:
    """Add a key with the columns given; returns it with its text, which is not kept anywhere."""
    identity = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LETTERS))
    secret = _letters(int.from_bytes(secrets.token_bytes(_SECRET_BYTES), "big"), _SECRET_LETTERS)
    row = ApiKey.model_validate(
        {**values, "id": identity, "secret_hash": _hash(secret), "last4": secret[-4:]}
    )
    session.add(row)
    return row, f"{PREFIX}{identity}_{secret}"


async def find(session: AsyncSession, key_id: str) -> ApiKey | None:
    """Give a key by its id, of whatever workspace and however it stands."""
    return await session.get(ApiKey, key_id)


async def get(session: AsyncSession, workspace: str, key_id: str) -> ApiKey:
    """Give a key of a workspace; raises NotFoundError."""
    statement = select(ApiKey).where(ApiKey.id == key_id, ApiKey.workspace == workspace)
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(f"there is no API key {key_id!r}")
    return found


async def list_all(session: AsyncSession, workspace: str) -> Sequence[ApiKey]:
    """Give all keys of a workspace, the latest first, those that have ended among them."""
    statement = select(ApiKey).where(ApiKey.workspace == workspace)
    order = (col(ApiKey.created_at).desc(), col(ApiKey.id).desc())
    return (await session.exec(statement.order_by(*order))).all()


async def rotate(
    session: AsyncSession, workspace: str, key_id: str, *, overlap: timedelta, actor: str
) -> tuple[ApiKey, str]:
    """Make the key that takes over; the old one ends after `overlap`, or as it would anyway.

    The new one lives as long as the old one was meant to. Raises NotFoundError, ConflictError.
    """
    statement = select(ApiKey).where(ApiKey.id == key_id, ApiKey.workspace == workspace)
    old = (await session.exec(statement.with_for_update())).first()
    if old is None:
        raise NotFoundError(f"there is no API key {key_id!r}")
    moment = now()
    if old.ends(moment) or old.rotated_to is not None:
        raise ConflictError("the key has ended or was rotated already", hint="create a new one")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    new, text = create(
        session,
        workspace=workspace,
        name=old.name,
        role=old.role,
        scopes=old.scopes,
        grants=old.grants,
        created_by=actor,
        expires_at=None if lifetime is None else moment + lifetime,
    )
    end = moment + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    old.rotated_to = new.id
    session.add(old)
    return new, text


async def revoke(session: AsyncSession, workspace: str, key_id: str) -> ApiKey:
    """End a key now; twice is the same as once. Raises NotFoundError."""
    found = await get(session, workspace, key_id)
    if found.revoked_at is None:
        found.revoked_at = now()
        session.add(found)
    return found


async def note_use(session: AsyncSession, key_id: str) -> None:
    """Write that a key is used now, unless that was written within `USED_EVERY`."""
    moment = now()
    known = col(ApiKey.last_used_at)
    statement = (
        sa.update(ApiKey)
        .where(col(ApiKey.id) == key_id, known.is_(None) | (known < moment - USED_EVERY))
        .values(last_used_at=moment)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
