"""All tables in one place, for migrations: a new table's module is imported here."""

from sqlmodel import SQLModel

from db import (
    audit,
    definitions,
    event_tables,
    forms,
    idempotency,
    lead_events,
    leads,
    runs,
    templates,
    trigger_table,
)

MODULES = (
    audit,
    definitions,
    event_tables,
    forms,
    idempotency,
    lead_events,
    leads,
    runs,
    templates,
    trigger_table,
)
metadata = SQLModel.metadata
