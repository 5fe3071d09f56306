"""Reading a definition that came as a body, and the definitions that runs are started with."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from api.content import find_unstorable
from db import definitions, trigger_gates
from db.definitions import Version
from db.trigger_gates import Gate
from schemas.actions import Catalogue
from schemas.definition import Definition
from schemas.document import parse_document
from schemas.errors import DefinitionError, NotFoundError, Problem
from schemas.rules import Rule, refused
from schemas.validation import check, invalid


@dataclass(frozen=True)
class Reading:
    """A definition that may be published, and the warnings about it."""

    definition: Definition
    warnings: list[Problem]


def read_definition(source: str, catalogue: Catalogue, *, name: str | None = None) -> Reading:
    """Parse and check a definition's text; `name` is the one that it must have.

    Raises DefinitionError that lists every problem.
    """
    checked = check(source, catalogue)
    if checked.definition is None:
        raise invalid(checked.problems)
    faults = _storage_problems(source)
    if name is not None and checked.definition.name != name:
        message = f"the definition is named {checked.definition.name!r}, the address says {name!r}"
        faults.append(refused(Rule.BAD_VALUE, "name", message))
    if faults:
        raise DefinitionError(f"the definition is not valid: {faults[0].message}", problems=faults)
    return Reading(checked.definition, checked.warnings)


def check_definition(source: str, catalogue: Catalogue) -> list[Problem]:
    """Give every problem of a definition's text; without an error it may be published."""
    checked = check(source, catalogue)
    faults = _storage_problems(source) if checked.definition is not None else []
    return [*checked.problems, *faults]


def document_of(definition: Definition) -> dict[str, Any]:
    """The definition as data, as it is stored and as it travels; what nobody wrote is left out."""
    return definition.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _storage_problems(source: str) -> list[Problem]:
    fault = find_unstorable(parse_document(source).data)
    return [refused(Rule.BAD_VALUE, "", f"it cannot be stored: {fault}")] if fault else []


async def find_version(
    session: AsyncSession,
    workspace: str,
    name: str,
    version: int | None,
    gate: Gate | None = None,
) -> Version:
    """A version, the active one by default, for a start that comes through `gate`.

    Raises NotFoundError: DEFINITION_NOT_FOUND for the definition, NOT_FOUND for its version; and
    ConflictError when the gate is closed.
    """
    try:
        if gate is not None:
            return await trigger_gates.get_version(session, workspace, name, version, gate)
        return await definitions.get_version(session, workspace, name, version)
    except NotFoundError as error:
        if version is None:
            raise
        await definitions.get(session, workspace, name)
        hint = f"see /api/v1/definitions/{name}/versions"
        raise NotFoundError(error.message, hint=hint) from error


def definition_of(version: Version) -> Definition:
    """The model of a stored version; versions are immutable, so that it is kept by its hash."""
    return _parsed(_Document(version.content_hash, version.document))


class _Document:
    """A document that is equal to another of the same hash, to be a key of the cache."""

    def __init__(self, content_hash: str, data: dict[str, Any]) -> None:
        self.content_hash = content_hash
        self.data = data

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Document) and other.content_hash == self.content_hash


@lru_cache(maxsize=64)
def _parsed(document: _Document) -> Definition:
    return Definition.model_validate(document.data)
