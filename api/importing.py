"""Importing a bundle: everything is judged first, then all of it is stored, or nothing."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from api.import_checks import (
    below,
    form_faults,
    no_definition,
    read,
    template_faults,
    twice,
    without_switch,
)
from api.import_storing import Apply, Storing
from api.models.bundles import ImportAnswer, ImportedItem, ImportMode, MissingThing
from api.publishing import document_of
from api.trigger_rules import input_problems, secrets_of
from db import bundles, connections, secrets
from db.triggers import given_of
from schemas.actions import Catalogue
from schemas.bundle import Bundle, BundledForm, BundledTrigger
from schemas.errors import ConflictError, ErrorCode, InputError, Problem, Severity
from schemas.needs import Need, needs_of
from schemas.rules import Rule, refused, warned
from schemas.triggers import FormTrigger, InputTrigger

_MOST = 100_000


@dataclass
class _Planned:
    item: ImportedItem
    apply: Apply | None = None


@dataclass
class Import:
    """One import of a bundle into a workspace by `actor`, within the caller's transaction.

    With `enable` triggers arrive as the bundle has them; without, those that start runs by
    themselves arrive disabled.
    """

    session: AsyncSession
    workspace: str
    catalogue: Catalogue
    bundle: Bundle
    mode: ImportMode
    actor: str
    enable: bool = False
    public_url: str = ""
    _planned: list[_Planned] = field(default_factory=list)
    _needs: dict[Need, list[str]] = field(default_factory=dict)
    _documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    _skipped: set[str] = field(default_factory=set)

    @property
    def _storing(self) -> Storing:
        return Storing(self.session, self.workspace, self.actor, self.public_url)

    async def run(self, *, dry_run: bool = False) -> ImportAnswer:
        """Judge everything, then store it unless it is a dry run.

        Raises ConflictError (with problems) where all that is wrong is that things exist, and
        InputError for anything else that is wrong.
        """
        await self._plan_definitions()
        await self._plan_templates()
        await self._plan_forms()
        await self._plan_triggers()
        missing = await self._missing()
        if not dry_run:
            self._refuse_faults()
            for planned in self._planned:
                if planned.apply is not None:
                    await planned.apply()
        items = [planned.item for planned in self._planned]
        return ImportAnswer(dry_run=dry_run, items=items, missing=missing)

    def _refuse_faults(self) -> None:
        faults = [
            problem
            for planned in self._planned
            for problem in planned.item.problems
            if problem.severity is Severity.ERROR
        ]
        if not faults:
            return
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        message = f"nothing was imported: {faults[0].path}: {faults[0].message}{more}"
        if all(one.code == ErrorCode.CONFLICT for one in faults):
            hint = "import with ?mode=update or ?mode=skip"
            raise ConflictError(message, hint=hint, problems=faults)
        raise InputError(message, problems=faults)

    def _add(
        self, kind: Any, name: str, action: Any, faults: list[Problem], apply: Apply | None = None
    ) -> ImportedItem:
        if any(one.severity is Severity.ERROR for one in faults):
            action = "refuse"
        item = ImportedItem(kind=kind, name=name, action=action, problems=faults)
        acts = action in ("create", "update")
        self._planned.append(_Planned(item, apply if acts else None))
        return item

    def _action(self, there: bool, same: bool, path: str, what: str) -> tuple[str, list[Problem]]:
        """Say what becomes of something that may be there already, the same or different."""
        if not there:
            return "create", []
        if same:
            return "unchanged", []
        if self.mode is ImportMode.CREATE:
            message = f"{what} exists already, and is different"
            return "refuse", [Problem(code=ErrorCode.CONFLICT, path=path, message=message)]
        return ("update" if self.mode is ImportMode.UPDATE else "skip"), []

    async def _plan_definitions(self) -> None:
        given = self.bundle.definitions
        counts = Counter(one.name for one in given)
        names = {*counts, *(one.definition for one in self.bundle.triggers)}
        names |= {one.definition for one in self.bundle.forms}
        found = await bundles.definitions(self.session, self.workspace, names, limit=_MOST)
        stored = {row.name: (row, version) for row, version in found}
        self._documents = {name: version.document for name, (_, version) in stored.items()}
        # In a thread: a bundle may hold as many definitions as would hold up every other request.
        readings = await asyncio.to_thread(
            lambda: [read(one.source, one.name, self.catalogue) for one in given]
        )
        for index, (one, (definition, faults)) in enumerate(zip(given, readings, strict=True)):
            path = f"definitions[{index}]"
            faults = [below(fault, path) for fault in faults]
            if counts[one.name] > 1:
                faults.append(twice(path, one.name))
            row, version = stored.get(one.name, (None, None))
            same = (
                version is not None
                and row is not None
                and version.source == one.source
                and (not one.published or row.active_version == version.version)
            )
            action, more = self._action(
                row is not None, same, path, f"a definition named {one.name!r}"
            )
            if action == "skip":
                self._skipped.add(one.name)
                faults = []
            item = self._add("definition", one.name, action, [*faults, *more])
            item.version = version.version if version is not None else None
            if definition is None or action == "skip":
                continue
            self._documents[one.name] = document_of(definition)
            for need in needs_of(definition):
                self._need(need, one.name)
            if item.action in ("create", "update"):
                item.version = row.latest_version + 1 if row is not None else 1
                self._planned[-1].apply = self._storing.definition(
                    item, definition, one.source, new=row is None, publish=one.published
                )

    async def _plan_templates(self) -> None:
        given = self.bundle.templates
        counts = Counter(one.name for one in given)
        rows = await bundles.templates(self.session, self.workspace, counts, limit=_MOST)
        stored = {row.name: row for row in rows}
        for index, one in enumerate(given):
            path = f"templates[{index}]"
            faults = [below(fault, path) for fault in template_faults(one)]
            if counts[one.name] > 1:
                faults.append(twice(path, one.name))
            row = stored.get(one.name)
            same = row is not None and (row.subject, row.text, row.html) == (
                one.subject,
                one.text,
                one.html,
            )
            action, more = self._action(
                row is not None, same, path, f"a template named {one.name!r}"
            )
            item = self._add("template", one.name, action, [*faults, *more])
            if row is not None:
                item.version = row.version
            if item.action in ("create", "update"):
                self._planned[-1].apply = self._storing.template(item, one)

    async def _plan_forms(self) -> None:
        given = self.bundle.forms
        counts = Counter(one.name for one in given)
        rows = await bundles.forms_named(self.session, self.workspace, list(counts))
        stored = {
            row.name: BundledForm.model_validate(
                row.model_dump(include=set(BundledForm.model_fields))
            )
            for row in rows
        }
        for index, one in enumerate(given):
            path = f"forms[{index}]"
            if one.definition in self._skipped:
                self._add("form", one.name, "skip", [])
                continue
            faults = [below(fault, path) for fault in form_faults(one)]
            if counts[one.name] > 1:
                faults.append(twice(path, one.name))
            if one.definition not in self._documents:
                faults.append(no_definition(f"{path}.definition", one.definition))
            row = stored.get(one.name)
            action, more = self._action(row is not None, row == one, path, f"a form {one.name!r}")
            item = self._add("form", one.name, action, [*faults, *more])
            if item.action in ("create", "update"):
                self._planned[-1].apply = self._storing.form(
                    one, enabled=row is not None or self._enables(one)
                )

    def _enables(self, form: BundledForm) -> bool:
        """Whether a form that is new may start runs at once."""
        said = [
            each.trigger.enabled
            for each in self.bundle.triggers
            if isinstance(each.trigger, FormTrigger) and each.trigger.form == form.name
        ]
        return self.enable and all(said)

    async def _plan_triggers(self) -> None:
        given = self.bundle.triggers
        names = {one.definition for one in given}
        rows = await bundles.triggers(self.session, self.workspace, names, limit=_MOST)
        stored: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            stored.setdefault(row.definition, []).append(without_switch(given_of(row)))
        wanted = {name for one in given for name in secrets_of(one.trigger)}
        known = await secrets.known_names(self.session, self.workspace, list(wanted))
        coming = {one.name for one in self.bundle.forms}
        for index, one in enumerate(given):
            path = f"triggers[{index}]"
            name = f"{one.definition}/{one.trigger.kind}"
            said = without_switch(one.trigger)
            there = stored.setdefault(one.definition, [])
            if one.definition in self._skipped:
                self._add("trigger", name, "skip", [])
            elif said in there:
                there.remove(said)
                self._add("trigger", name, "unchanged", [])
            elif isinstance(one.trigger, FormTrigger):
                # It comes with its form.
                lost = one.trigger.form not in coming
                message = f"there is no form named {one.trigger.form!r} in the bundle"
                faults = [refused(Rule.BAD_VALUE, f"{path}.trigger.form", message)] if lost else []
                self._add("trigger", name, "create", faults)
            else:
                self._plan_trigger(one, path, name, there, known)

    def _plan_trigger(
        self,
        one: BundledTrigger,
        path: str,
        name: str,
        there: list[dict[str, Any]],
        known: set[str],
    ) -> None:
        faults: list[Problem] = []
        document = self._documents.get(one.definition)
        if document is None:
            faults.append(no_definition(f"{path}.definition", one.definition))
        elif isinstance(one.trigger, InputTrigger):
            found = input_problems(one.trigger, document)
            faults += [below(fault, f"{path}.trigger") for fault in found]
        if one.trigger.kind in ("manual", "api"):
            if said_there := [each for each in there if each["kind"] == one.trigger.kind]:
                there.remove(said_there[0])
                self._add("trigger", name, "unchanged", faults)
                return
            there.append(without_switch(one.trigger))
        lacking = [each for each in secrets_of(one.trigger) if each not in known]
        for secret in lacking:
            self._need(Need("secret", secret), name)
            message = f"there is no secret named {secret!r} yet: the trigger arrives disabled"
            faults.append(warned(Rule.UNKNOWN_SECRET, f"{path}.trigger.verify", message))
        item = self._add("trigger", name, "create", faults)
        if item.action != "create":
            return
        enabled = one.trigger.enabled
        if one.trigger.kind not in ("manual", "api"):
            enabled = enabled and self.enable and not lacking
        item.enabled = enabled
        coming = one.trigger.model_copy(update={"enabled": enabled})
        self._planned[-1].apply = self._storing.trigger(item, one.definition, coming)

    def _need(self, need: Need, by: str) -> None:
        users = self._needs.setdefault(need, [])
        if by not in users:
            users.append(by)

    async def _missing(self) -> list[MissingThing]:
        """Give what is needed and neither stored nor in the bundle, by kind and name."""
        wanted: dict[str, list[str]] = {}
        for need in self._needs:
            wanted.setdefault(need.kind, []).append(need.name)
        session, workspace = self.session, self.workspace
        known: dict[str, set[str]] = {
            "secret": await secrets.known_names(session, workspace, wanted.get("secret", [])),
            "connection": await connections.known_names(
                session, workspace, wanted.get("connection", [])
            ),
            "template": {one.name for one in self.bundle.templates},
            "definition": {one.name for one in self.bundle.definitions},
        }
        rows = await bundles.templates(session, workspace, wanted.get("template", []), limit=_MOST)
        known["template"] |= {row.name for row in rows}
        found = await bundles.definitions(
            session, workspace, wanted.get("definition", []), limit=_MOST
        )
        known["definition"] |= {row.name for row, _ in found}
        return [
            MissingThing(kind=need.kind, name=need.name, needed_by=users)
            for need, users in sorted(self._needs.items())
            if need.name not in known[need.kind]
        ]
