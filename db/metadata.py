"""All tables in one place, for migrations: a new table's module is imported here."""

from sqlmodel import SQLModel

from db import (
    audit,
    definitions,
    forms,
    idempotency,
    lead_events,
    leads,
    runs,
    templates,
)

MODULES = (audit, definitions, forms, idempotency, lead_events, leads, runs, templates)
metadata = SQLModel.metadata
