"""Search attributes of runs. They are never encrypted: no personal data belongs here."""

from temporalio.common import SearchAttributeKey

WORKSPACE = SearchAttributeKey.for_keyword("Workspace")
DEFINITION_VERSION = SearchAttributeKey.for_int("DefinitionVersion")
RUN_STATUS = SearchAttributeKey.for_keyword("RunStatus")
LEAD = SearchAttributeKey.for_keyword("Lead")
