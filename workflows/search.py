"""Search attributes of runs. They are never encrypted: no personal data belongs here."""

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from schemas.run import RunStart, RunStatus

WORKSPACE = SearchAttributeKey.for_keyword("Workspace")
DEFINITION_VERSION = SearchAttributeKey.for_int("DefinitionVersion")
RUN_STATUS = SearchAttributeKey.for_keyword("RunStatus")
LEAD = SearchAttributeKey.for_keyword("Lead")


def attributes_of(start: RunStart) -> TypedSearchAttributes:
    """Give the attributes with which a run starts."""
    attributes = [
        SearchAttributePair(WORKSPACE, start.workspace),
        SearchAttributePair(DEFINITION_VERSION, start.version),
        SearchAttributePair(RUN_STATUS, RunStatus.RUNNING.value),
    ]
    if start.lead is not None:
        attributes.append(SearchAttributePair(LEAD, start.lead.id))
    return TypedSearchAttributes(attributes)
