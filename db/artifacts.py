"""Artifacts: what a step gave that is too large for its output, kept as long as its run."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import clean_text, now
from db.ids import new_id
from db.run_table import Run
from schemas.errors import NotFoundError


class Artifact(SQLModel, table=True):
    """Bytes that one step of a run gave; they never change under an id. `size` is in bytes."""

    __tablename__ = "artifacts"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.UniqueConstraint("run_id", "step_path", "sha256"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    run_id: str = Field(foreign_key="runs.id", ondelete="CASCADE")
    step_path: str
    content_type: str
    size: int
    sha256: str
    content: bytes
    created_at: datetime = Field(default_factory=now)


@dataclass(frozen=True)
class ArtifactInfo:
    """An artifact without its bytes; `sha256` is their digest in hex."""

    id: str
    step_path: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime


_INFO = [getattr(Artifact, name) for name in ArtifactInfo.__dataclass_fields__]


async def store(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    step_path: str,
    content: bytes,
    content_type: str,
) -> str | None:
    """Keep bytes and give their id: that of an earlier attempt, if it gave the same bytes.

    None where there is no row of the run, with which they would go one day.
    """
    row = {
        "id": new_id(),
        "workspace": workspace,
        "run_id": run_id,
        "step_path": clean_text(step_path),
        "content_type": clean_text(content_type),
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content": content,
        "created_at": now(),
    }
    types = {name: getattr(Artifact, name).type for name in row}
    there = sa.exists().where(col(Run.id) == run_id, col(Run.workspace) == workspace)
    values = sa.select(
        *(sa.literal(value, types[name]).label(name) for name, value in row.items())
    ).where(there)
    statement = (
        insert(Artifact)
        .from_select(list(row), values)
        .on_conflict_do_update(
            index_elements=["run_id", "step_path", "sha256"],
            set_={"created_at": row["created_at"]},
        )
        .returning(col(Artifact.id))
    )
    return (await (await session.connection()).execute(statement)).scalar_one_or_none()


async def of_run(session: AsyncSession, workspace: str, run_id: str) -> list[ArtifactInfo]:
    """Give a run's artifacts, the first first, at most 1,000."""
    statement = (
        sa.select(*_INFO)
        .where(col(Artifact.workspace) == workspace, col(Artifact.run_id) == run_id)
        .order_by(col(Artifact.created_at), col(Artifact.id))
        .limit(1000)
    )
    rows = (await (await session.connection()).execute(statement)).mappings().all()
    return [ArtifactInfo(**row) for row in rows]


async def get(session: AsyncSession, workspace: str, run_id: str, artifact_id: str) -> Artifact:
    """Give an artifact of a run with its bytes; raises NotFoundError."""
    statement = sa.select(Artifact).where(
        col(Artifact.id) == artifact_id,
        col(Artifact.run_id) == run_id,
        col(Artifact.workspace) == workspace,
    )
    found = (await (await session.connection()).execute(statement)).mappings().first()
    if found is None:
        raise NotFoundError(f"the run has no artifact {artifact_id!r}")
    return Artifact(**found)
