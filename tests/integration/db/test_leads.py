"""Leads and their events, templates, forms, audit entries."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from db import audit, forms, leads, templates
from db.engine import Database
from db.leads import LeadEventKind
from schemas.errors import InputError, NotFoundError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_forty_submissions_at_once_make_one_lead(database: Database, workspace: str) -> None:
    async def submit(number: int) -> str:
        async with database.session() as session:
            lead = await leads.upsert(
                session, workspace, " Ann@Example.com ", name="Ann", fields={f"f{number}": number}
            )
        return lead.id

    ids = await asyncio.gather(*(submit(number) for number in range(40)))
    assert len(set(ids)) == 1
    async with database.session() as session:
        lead = await leads.find_by_email(session, workspace, "ANN@example.com")
        assert await leads.find_by_email(session, "elsewhere", "ann@example.com") is None
    assert lead is not None
    assert lead.email == "ann@example.com"
    assert lead.fields == {f"f{number}": number for number in range(40)}


async def test_an_update_keeps_what_it_does_not_name(database: Database, workspace: str) -> None:
    async with database.session() as session:
        await leads.upsert(
            session, workspace, "a@b.c", name="A", company="C", fields={"x": 1, "y": 1}
        )
        lead = await leads.upsert(session, workspace, "a@b.c", name="B", fields={"y": 2})
    assert (lead.name, lead.company, lead.status) == ("B", "C", "new")
    assert lead.fields == {"x": 1, "y": 2}
    with pytest.raises(InputError):
        async with database.session() as session:
            await leads.upsert(session, workspace, "a@b.c", fields={"x": "a\x00b"})


async def test_status_and_fields(database: Database, workspace: str) -> None:
    async with database.session() as session:
        lead = await leads.upsert(session, workspace, "a@b.c", fields={"x": 1})
    for _ in range(2):
        async with database.session() as session:
            changed = await leads.set_status_and_fields(
                session, workspace, lead.id, "failed", {"why": "budget"}, run_id="r", step_path="s"
            )
            assert (changed.status, changed.fields) == ("failed", {"x": 1, "why": "budget"})
    async with database.session() as session:
        page = await leads.events(session, workspace, lead.id)
        stored = await leads.get(session, workspace, lead.id)
        failed = await leads.list_page(session, workspace, status="failed")
        with pytest.raises(NotFoundError):
            await leads.set_status_and_fields(session, "elsewhere", lead.id, "won")
    assert stored.status == "failed"
    assert [row.id for row in failed.items] == [lead.id]
    assert [(row.kind, row.data) for row in page.items] == [
        (LeadEventKind.STATUS_CHANGED, {"from": "new", "to": "failed"})
    ]


async def test_an_event_delivered_twice_counts_once(database: Database, workspace: str) -> None:
    async with database.session() as session:
        lead = await leads.upsert(session, workspace, "a@b.c")

    async def deliver() -> bool:
        async with database.session() as session:
            return await leads.add_event(
                session, workspace, lead.id, LeadEventKind.REPLIED, at=NOON, key="message-1"
            )

    results = await asyncio.gather(*(deliver() for _ in range(20)))
    assert results.count(True) == 1
    async with database.session() as session:
        assert await leads.add_event(
            session, workspace, lead.id, LeadEventKind.OPENED, at=NOON, key="message-1"
        )
        for _ in range(2):
            assert await leads.add_event(
                session, workspace, lead.id, LeadEventKind.CLICKED, at=NOON
            )
        with pytest.raises(NotFoundError):
            await leads.add_event(session, "elsewhere", lead.id, LeadEventKind.SENT, at=NOON)
    async with database.session() as session:
        page = await leads.events(session, workspace, lead.id, limit=3)
        rest = await leads.events(session, workspace, lead.id, limit=3, cursor=page.next_cursor)
    assert len(page.items) == 3
    assert len(rest.items) == 1


async def test_times_never_go_back(database: Database, workspace: str) -> None:
    async with database.session() as session:
        lead = await leads.upsert(session, workspace, "a@b.c")
        for hours in (0, -5, 2, 1):
            at = NOON + timedelta(hours=hours)
            await leads.add_event(session, workspace, lead.id, LeadEventKind.SENT, at=at)
        await leads.add_event(session, workspace, lead.id, LeadEventKind.OPENED, at=NOON)
    async with database.session() as session:
        stored = await leads.get(session, workspace, lead.id)
    assert stored.last_email_sent_at == NOON + timedelta(hours=2)
    assert stored.last_email_opened_at == NOON
    assert stored.last_replied_at is None
    assert stored.last_activity_at == NOON + timedelta(hours=2)


async def test_has_event(database: Database, workspace: str) -> None:
    async with database.session() as session:
        lead = await leads.upsert(session, workspace, "a@b.c")
        await leads.add_event(
            session,
            workspace,
            lead.id,
            LeadEventKind.OPENED,
            at=NOON,
            run_id="r",
            step_path="each[1].send",
        )

    async def has(kind: LeadEventKind = LeadEventKind.OPENED, **where: object) -> bool:
        async with database.session() as session:
            return await leads.has_event(session, workspace, lead.id, kind, **where)  # pyright: ignore[reportArgumentType]

    assert await has()
    assert not await has(LeadEventKind.REPLIED), "an opened mail is not a reply"
    assert await has(since=NOON)
    assert not await has(since=NOON + timedelta(seconds=1))
    assert await has(run_id="r")
    assert not await has(run_id="q")
    assert await has(step="send")
    assert await has(step="each[1].send")
    assert not await has(step="end")
    assert not await has(step="%")


async def test_templates(database: Database, workspace: str) -> None:
    async with database.session() as session:
        first = await templates.put(session, workspace, "welcome", subject="Hi", text="t", html="h")
        await templates.put(session, workspace, "bye", subject="Bye", text="t")
        second = await templates.put(session, workspace, "welcome", subject="Hello", text="t2")
    async with database.session() as session:
        found = await templates.get(session, workspace, "welcome")
        assert [row.name for row in await templates.list_all(session, workspace)] == [
            "bye",
            "welcome",
        ]
        assert first.id == second.id == found.id
        assert (found.subject, found.text, found.html) == ("Hello", "t2", None)
        await templates.delete(session, workspace, "welcome")
        with pytest.raises(NotFoundError):
            await templates.get(session, workspace, "welcome")
        with pytest.raises(NotFoundError):
            await templates.delete(session, workspace, "welcome")


async def test_forms(database: Database, workspace: str) -> None:
    schema = {"type": "object", "properties": {"z": {}, "email": {}, "a": {}}}
    async with database.session() as session:
        for title in ("One", "Two"):
            await forms.put(
                session,
                workspace,
                "contact",
                definition="demo",
                title=title,
                fields=schema,
                mapping={"email": "email"},
            )
    async with database.session() as session:
        found = await forms.get(session, workspace, "contact")
        assert [row.title for row in await forms.list_all(session, workspace)] == ["Two"]
        assert list(found.fields["properties"]) == ["z", "email", "a"], "fields keep their order"
        await forms.delete(session, workspace, "contact")
        with pytest.raises(NotFoundError):
            await forms.get(session, workspace, "contact")


async def test_audit_entries_share_the_transaction(database: Database, workspace: str) -> None:
    async def fail() -> None:
        async with database.session() as session:
            audit.add(session, workspace, actor="key", action="run.start", subject="1")
            await session.flush()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await fail()
    async with database.session() as session:
        audit.add(session, workspace, actor="key", action="run.start", subject="2", data={"v": 1})
    async with database.session() as session:
        query = select(audit.AuditEntry).where(audit.AuditEntry.workspace == workspace)
        assert [row.subject for row in (await session.exec(query)).all()] == ["2"]
