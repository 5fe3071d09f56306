"""The mail funnel: of those who were written to, who opened, clicked, replied and booked."""

from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from db.analytics import Scope, rows

_MAILS = """
    FROM mail_messages m
    WHERE m.workspace = :workspace AND m.definition = :definition AND m.state = 'sent'
    AND m.created_at >= :since AND m.created_at < :until
    AND (CAST(:version AS integer) IS NULL OR EXISTS (
        SELECT FROM runs r WHERE r.id = m.run_id AND r.version = CAST(:version AS integer)
    ))
"""
_PEOPLE = f"""
WITH people AS (
    SELECT m.to_address, max(m.lead_id) AS lead_id, min(coalesce(m.sent_at, m.created_at)) AS first,
        bool_or(m.opened_at IS NOT NULL) AS opened, bool_or(m.clicked_at IS NOT NULL) AS clicked,
        bool_or(m.replied_at IS NOT NULL) AS replied, bool_or(m.bounced_at IS NOT NULL) AS bounced,
        bool_or(m.unsubscribed_at IS NOT NULL) AS unsubscribed
    {_MAILS} GROUP BY 1
), booked AS (
    SELECT lead_id, max(at) AS last FROM lead_events
    WHERE workspace = :workspace AND kind = 'booked' AND at >= :since GROUP BY 1
)
SELECT count(*) AS sent, count(*) FILTER (WHERE opened) AS opened,
    count(*) FILTER (WHERE clicked) AS clicked, count(*) FILTER (WHERE replied) AS replied,
    count(*) FILTER (WHERE booked.last >= people.first) AS booked,
    count(*) FILTER (WHERE bounced) AS bounced,
    count(*) FILTER (WHERE unsubscribed) AS unsubscribed
FROM people LEFT JOIN booked ON booked.lead_id = people.lead_id
"""  # noqa: S608 - constants of this module
_STEPS = f"""
SELECT split_part(m.step_path, '.', -1) AS step, count(*) AS sent,
    count(m.opened_at) AS opened, count(m.clicked_at) AS clicked,
    count(m.replied_at) AS replied, count(m.bounced_at) AS bounced,
    count(m.unsubscribed_at) AS unsubscribed
{_MAILS} GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class PeopleFunnel:
    """People by address: `booked` have a booking at or after the first mail that was sent them."""

    sent: int
    opened: int
    clicked: int
    replied: int
    booked: int
    bounced: int
    unsubscribed: int


@dataclass(frozen=True)
class StepFunnel:
    """The mails of one step, iterations together."""

    step: str
    sent: int
    opened: int
    clicked: int
    replied: int
    bounced: int
    unsubscribed: int


async def of_people(session: AsyncSession, scope: Scope) -> PeopleFunnel:
    """Count the people to whom mails of the scope's time were sent, by what they did."""
    [row] = await rows(session, _PEOPLE, scope.parameters)
    return PeopleFunnel(**row)


async def of_steps(session: AsyncSession, scope: Scope) -> list[StepFunnel]:
    """Count the mails of the scope's time by step and by what came of them."""
    return [StepFunnel(**row) for row in await rows(session, _STEPS, scope.parameters)]
