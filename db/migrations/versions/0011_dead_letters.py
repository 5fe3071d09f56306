"""Dead letters and bulk jobs.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

_JSON = postgresql.JSON(none_as_null=True, astext_type=sa.Text())


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("runs", sa.Column("redrive_of", sa.String(), nullable=True))
    op.add_column("runs", sa.Column("resumes_from", sa.String(), nullable=True))
    _dead_letters()
    _bulk()


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=32), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        _text("id"),
        _text("workspace"),
        _word("kind"),
        _text("definition"),
        _number("version", nullable=True),
        _text("subject_id"),
        _text("run_id", nullable=True),
        _text("step_path", nullable=True),
        _text("code"),
        _text("message"),
        _text("fingerprint"),
        _word("state"),
        _number("redrives"),
        _text("new_run_id", nullable=True),
        _text("reason", nullable=True),
        _text("actor", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        _time("settled_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("kind", "subject_id", name=op.f("uq_dead_letters_kind_subject_id")),
    )
    for name, columns in (
        ("ix_dead_letters_state", ["workspace", "state", "created_at", "id"]),
        ("ix_dead_letters_created", ["workspace", "created_at", "id"]),
        ("ix_dead_letters_fingerprint", ["workspace", "fingerprint", "state", "created_at", "id"]),
    ):
        op.create_index(name, "dead_letters", columns)
    op.create_index(
        "ix_dead_letters_run",
        "dead_letters",
        ["run_id"],
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )


def _bulk() -> None:
    op.create_table(
        "bulk_jobs",
        _text("id"),
        _text("workspace"),
        _word("action"),
        sa.Column("parameters", _JSON, nullable=False),
        _number("rate"),
        _word("state"),
        _number("total"),
        _number("done"),
        _number("failed"),
        _text("actor"),
        _time("due_at"),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_jobs")),
    )
    op.create_index("ix_bulk_jobs_created", "bulk_jobs", ["workspace", "created_at", "id"])
    op.create_index(
        "ix_bulk_jobs_queued",
        "bulk_jobs",
        ["workspace", "due_at"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "bulk_items",
        _text("job_id"),
        _number("position"),
        _text("subject_id"),
        _word("state"),
        _text("run_id", nullable=True),
        _text("code", nullable=True),
        _text("message", nullable=True),
        _time("finished_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["bulk_jobs.id"],
            name=op.f("fk_bulk_items_job_id_bulk_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_bulk_items")),
    )
    op.create_index("ix_bulk_items_state", "bulk_items", ["job_id", "state", "position"])


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("bulk_items")
    op.drop_table("bulk_jobs")
    op.drop_table("dead_letters")
    op.drop_column("runs", "resumes_from")
    op.drop_column("runs", "redrive_of")
