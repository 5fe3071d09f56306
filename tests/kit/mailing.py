"""Steps that send mail, for tests that look at what became of it."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlmodel import select

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from db import connections, suppressions
from db.mail_messages import MailMessage
from db.suppressions import SuppressionReason
from schemas.keyring import KeyRing

if TYPE_CHECKING:
    from db.engine import Database

PUBLIC_URL = "https://mail.example.com"
KEYRING = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"})


async def send(context: ActionContext, to: Any, **given: Any) -> EmailResult:
    mail = {"to": to, "subject": "Hello", "text": "Hi"}
    return await email(EmailParams.model_validate(mail | given), context)


async def row_of(database: "Database", context: ActionContext) -> MailMessage:
    async with database.session() as session:
        statement = select(MailMessage).where(MailMessage.step_key == context.step.key)
        return (await session.exec(statement)).one()


async def withhold(database: "Database", *addresses: str) -> None:
    async with database.session() as session:
        for address in addresses:
            await suppressions.add(
                session, "default", address, SuppressionReason.MANUAL, source="test"
            )


async def connect(database: "Database", port: int, **config: Any) -> str:
    """Store an SMTP connection to a local port; gives its name."""
    name = f"mail-{uuid4().hex[:8]}"
    known = {"host": "127.0.0.1", "port": port, "tls": "none"}
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            name,
            kind="smtp",
            config={**known, "from_address": "News <news@news.example>", **config},
            secrets={},
            keyring=KEYRING,
        )
    return name


def an_address() -> str:
    return f"bob-{uuid4().hex}@example.com"
