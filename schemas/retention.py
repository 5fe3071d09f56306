"""How long rows are kept: what can be pruned, and the names of what prunes it."""

from dataclasses import dataclass

# The workflow type that Temporal's schedule starts, and its one activity.
RETENTION = "sojourn.retention"
PRUNE = "prune"
MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of rows: kept `days` from their `age` column on, for ever if `days` is None.

    `least` is the shortest time that keeps promises made elsewhere. Only rows for which `only`
    (SQL over the table) holds are counted and pruned, `batch` of them in one transaction.
    """

    name: str
    table: str
    age: str
    days: int | None
    about: str
    least: int = 1
    only: str | None = None
    batch: int = 1000


SUBJECTS: tuple[Subject, ...] = (
    # Their steps go with them, and may be many.
    Subject(
        "runs",
        "runs",
        "finished_at",
        90,
        "runs with their steps and keys, from their end on",
        only="finished_at IS NOT NULL",
        batch=200,
    ),
    Subject("run_logs", "run_logs", "at", 30, "lines of the logs of runs"),
    # No foreign key binds them to their runs.
    Subject(
        "event_waits",
        "event_waits",
        "created_at",
        30,
        "which runs waited for which events, once the runs are gone",
        only="NOT EXISTS (SELECT FROM runs WHERE runs.id = event_waits.run_id)",
    ),
    Subject("events", "events", "received_at", 30, "published events with their deliveries"),
    Subject("webhook_deliveries", "webhook_deliveries", "received_at", 30, "raw webhooks"),
    # A schedule catches up on seven days: no due time of these may run twice.
    Subject(
        "idempotency_keys",
        "idempotency_keys",
        "created_at",
        8,
        "keys that make repeated starts one run",
        least=8,
    ),
    Subject("lead_events", "lead_events", "created_at", None, "what leads did"),
    Subject("mail_messages", "mail_messages", "created_at", None, "mails and their links"),
    # They say what an open run must not do again.
    Subject(
        "deliveries",
        "deliveries",
        "created_at",
        30,
        "the ledger of effects that must not happen twice, once the runs are gone",
        only="NOT EXISTS (SELECT FROM runs WHERE runs.id = deliveries.run_id)",
    ),
    Subject("mail_hits", "mail_hits", "created_at", 365, "requests for pixels and links of mails"),
    # Two weeks later a mailbox may be read once more.
    Subject(
        "mail_inbound", "mail_inbound", "created_at", 365, "replies and bounces received", least=30
    ),
    Subject("ai_cache", "ai_cache", "expires_at", 1, "cached answers, from their expiry on"),
    Subject("ai_results", "ai_results", "expires_at", 1, "answers of steps, from their expiry on"),
    Subject("ai_usage", "ai_usage", "at", None, "tokens and money spent, call by call"),
    # The counters of budgets: a day's counts until midnight UTC, a run's as long as the run.
    Subject(
        "ai_spending",
        "ai_spending",
        "updated_at",
        90,
        "what budgets of past days, and of runs that are gone, have counted",
        least=2,
        only="scope NOT LIKE 'run/%'"
        " OR NOT EXISTS (SELECT FROM runs WHERE runs.id = substr(ai_spending.scope, 5))",
    ),
    Subject("dead_letters", "dead_letters", "created_at", 90, "what failed for good"),
    Subject("bulk_jobs", "bulk_jobs", "created_at", 90, "bulk jobs with what became of each item"),
    Subject("audit", "audit_entries", "created_at", 365, "who did what", least=30),
)
BY_NAME = {subject.name: subject for subject in SUBJECTS}
