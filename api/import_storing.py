"""What an import stores, each thing with its audit entry."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from api.models.bundles import ImportedItem
from api.publishing import document_of
from api.routes.triggers import new_token, note_trigger
from db import definitions, forms, templates, trigger_gates, triggers
from db.audit_hashes import changing_named
from db.definition_audit import UPDATE, changing_definition, note_version
from db.forms import Form
from db.templates import Template
from db.webhooks import hash_token
from schemas.bundle import BundledForm, BundledTemplate
from schemas.definition import Definition
from schemas.triggers import TriggerInput, WebhookTrigger

Apply = Callable[[], Awaitable[None]]
_MAPPING = {"email": "email", "name": "name", "company": "company"}


@dataclass(frozen=True)
class Storing:
    """Makes the deeds of an import by `actor`; done later, within the caller's transaction."""

    session: AsyncSession
    workspace: str
    actor: str
    public_url: str

    def definition(
        self, item: ImportedItem, definition: Definition, source: str, *, new: bool, publish: bool
    ) -> Apply:
        """Store a definition's first or next version."""
        name = definition.name

        async def apply() -> None:
            store = definitions.create if new else definitions.add_version
            async with changing_definition(
                self.session,
                self.workspace,
                name,
                actor=self.actor,
                action="definition.create" if new else UPDATE,
                many=True,
            ):
                version = await store(
                    self.session,
                    self.workspace,
                    name,
                    document_of(definition),
                    source,
                    title=definition.title,
                    publish=publish,
                )
            await note_version(self.session, self.workspace, name, version, actor=self.actor)
            item.version = version.version

        return apply

    def template(self, item: ImportedItem, one: BundledTemplate) -> Apply:
        """Store a template's next version."""

        async def apply() -> None:
            async with changing_named(
                self.session,
                self.workspace,
                Template,
                one.name,
                actor=self.actor,
                action="put_template",
                many=True,
            ):
                row = await templates.put(
                    self.session,
                    self.workspace,
                    one.name,
                    subject=one.subject,
                    text=one.text,
                    html=one.html,
                )
            item.version = row.version

        return apply

    def form(self, one: BundledForm, *, enabled: bool) -> Apply:
        """Store a form; `enabled` is for its trigger, where that is new."""

        async def apply() -> None:
            async with changing_named(
                self.session,
                self.workspace,
                Form,
                one.name,
                actor=self.actor,
                action="put_form",
                many=True,
            ):
                await forms.put(
                    self.session,
                    self.workspace,
                    one.name,
                    definition=one.definition,
                    title=one.title,
                    fields=one.fields,
                    mapping={**_MAPPING, **one.mapping},
                )
            await trigger_gates.link_form(
                self.session, self.workspace, one.name, one.definition, enabled=enabled
            )

        return apply

    def trigger(self, item: ImportedItem, definition: str, given: TriggerInput) -> Apply:
        """Add a trigger, a webhook with a new token."""

        async def apply() -> None:
            token = new_token() if isinstance(given, WebhookTrigger) else None
            row = await triggers.add(
                self.session,
                self.workspace,
                definition,
                given,
                token_hash=hash_token(token) if token else None,
            )
            await note_trigger(self.session, row, actor=self.actor)
            item.id = row.id
            if token is not None:
                item.token = token
                item.url = f"{self.public_url.rstrip('/')}/api/v1/hooks/{token}"

        return apply
