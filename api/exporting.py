"""Gathering a bundle from what is stored."""

import json

from sqlmodel.ext.asyncio.session import AsyncSession

from api.publishing import definition_of
from db import bundles
from db.triggers import given_of
from schemas.bundle import (
    MAX_ENTRIES,
    Bundle,
    BundledDefinition,
    BundledForm,
    BundledTemplate,
    BundledTrigger,
    trigger_data,
)
from schemas.errors import ErrorCode, LimitError, NotFoundError
from schemas.needs import needs_of


async def gather(session: AsyncSession, workspace: str, names: list[str] | None) -> Bundle:
    """Gather definitions with their templates, forms and triggers, in an order of their own.

    Without names all definitions and all templates. Raises NotFoundError (DEFINITION_NOT_FOUND)
    for a name that nothing has, LimitError for more than a bundle may hold.
    """
    most = MAX_ENTRIES + 1
    found = await bundles.definitions(session, workspace, names, limit=most)
    known = [row.name for row, _ in found]
    for name in names or []:
        if name not in known:
            raise NotFoundError(
                f"there is no definition named {name!r}", code=ErrorCode.DEFINITION_NOT_FOUND
            )
    wanted = None
    if names is not None:
        wanted = {
            need.name
            for _, version in found
            for need in needs_of(definition_of(version))
            if need.kind == "template"
        }
    templates = await bundles.templates(session, workspace, wanted, limit=most)
    forms = await bundles.forms(session, workspace, known, limit=most)
    triggers = await bundles.triggers(session, workspace, known, limit=most)
    for what, rows in (
        ("definitions", found),
        ("templates", templates),
        ("forms", forms),
        ("triggers", triggers),
    ):
        if len(rows) > MAX_ENTRIES:
            raise LimitError(
                f"a bundle holds at most {MAX_ENTRIES} {what}",
                hint="export in parts: ?definitions=a,b",
            )
    given = [BundledTrigger(definition=row.definition, trigger=given_of(row)) for row in triggers]
    return Bundle(
        definitions=[
            BundledDefinition(
                name=row.name, published=row.active_version is not None, source=version.source
            )
            for row, version in found
        ],
        templates=[
            BundledTemplate(name=row.name, subject=row.subject, text=row.text, html=row.html)
            for row in templates
        ],
        forms=[
            BundledForm.model_validate(row.model_dump(include=set(BundledForm.model_fields)))
            for row in forms
        ],
        triggers=sorted(given, key=_place),
    )


def _place(one: BundledTrigger) -> tuple[str, str, bool]:
    """Order triggers by what they say: their ids and times are not carried."""
    said = trigger_data(one.trigger)
    return one.definition, json.dumps({**said, "enabled": None}), one.trigger.enabled
