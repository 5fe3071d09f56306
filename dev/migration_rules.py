"""What a revision may hold while processes of the version before still run on its schema.

Expand first: add what both versions can live with. Contract in a later release, in a revision that
says `contract = True`, when no process of the old version is left.
"""

import re
from collections.abc import Iterable

# Tables that grow with every run, mail or request: an index is built beside their writers.
LARGE = frozenset(
    {
        "ai_results",
        "ai_usage",
        "artifacts",
        "audit_entries",
        "event_deliveries",
        "events",
        "idempotency_keys",
        "lead_events",
        "leads",
        "mail_hits",
        "mail_inbound",
        "mail_links",
        "mail_messages",
        "run_logs",
        "run_steps",
        "runs",
        "webhook_deliveries",
    }
)
_CONTRACTS = (
    (r"\bDROP (TABLE|COLUMN|CONSTRAINT|FUNCTION|TRIGGER|POLICY)\b", "drops what is in use"),
    (r"\bRENAME (TO|COLUMN|CONSTRAINT)\b", "renames what is in use"),
    (r"\bSET NOT NULL\b", "refuses what the version before may write"),
    (r"\bALTER COLUMN \S+ (SET DATA )?TYPE\b", "changes a column's type"),
)
_SUBJECT = re.compile(r"\b(?:ALTER|DROP) TABLE (?:IF EXISTS )?\"?(\w+)", re.IGNORECASE)
_CREATED = re.compile(r"\bCREATE TABLE (?:IF NOT EXISTS )?\"?(\w+)", re.IGNORECASE)
_ANY = re.IGNORECASE | re.DOTALL
_INDEX = re.compile(r"\bCREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*?\bON \"?(\w+)", _ANY)
_ADDED = re.compile(r"\bADD COLUMN \S+ (.*)", _ANY)
_BOUND = re.compile(r"\bALTER TABLE \"?(\w+)\"? ADD CONSTRAINT .* (FOREIGN KEY|CHECK)", _ANY)


def faults(statements: Iterable[str], *, contract: bool = False) -> list[str]:
    """Say what is wrong with the SQL of one revision; nothing, for one that follows the rules.

    What happens to a table that the revision itself creates concerns nobody else.
    """
    given = [statement.strip() for statement in statements if statement.strip()]
    made = {name for statement in given for name in _CREATED.findall(statement)}
    found = []
    for statement in given:
        told = " ".join(statement.split())[:120]
        subject = _SUBJECT.search(statement)
        if subject is not None and subject[1] in made:
            continue
        if not contract:
            found += [
                f"{why}: {told}"
                for pattern, why in _CONTRACTS
                if re.search(pattern, statement, re.IGNORECASE)
            ]
            added = _ADDED.search(statement)
            if added and "NOT NULL" in added[1].upper() and "DEFAULT" not in added[1].upper():
                found.append(f"needs a default for the version before: {told}")
        index = _INDEX.search(statement)
        if index and not index[1] and index[2] in LARGE - made:
            found.append(f"stops the writers of a large table; build it concurrently: {told}")
        bound = _BOUND.search(statement)
        if bound and bound[1] in LARGE - made and "NOT VALID" not in statement.upper():
            found.append(f"reads a large table under a lock; add it NOT VALID: {told}")
    return found
