"""All tables in one place, for migrations: a new table's module is imported here."""

from sqlmodel import SQLModel

from db import (
    ai_answers,
    ai_breakers,
    ai_budgets,
    ai_ledger,
    audit,
    connections,
    definitions,
    event_tables,
    forms,
    idempotency,
    lead_events,
    leads,
    rates,
    mail_links,
    mail_messages,
    mail_rates,
    runs,
    secrets,
    suppressions,
    templates,
    trigger_table,
)

MODULES = (
    ai_answers,
    ai_breakers,
    ai_budgets,
    ai_ledger,
    audit,
    connections,
    definitions,
    event_tables,
    forms,
    idempotency,
    lead_events,
    leads,
    rates,
    mail_links,
    mail_messages,
    mail_rates,
    runs,
    secrets,
    suppressions,
    templates,
    trigger_table,
)
metadata = SQLModel.metadata
