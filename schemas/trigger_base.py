"""What every trigger has in common, and the kinds there are."""

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from schemas import cel
from schemas.policies import Strict


class TriggerKind(StrEnum):
    """What fires a trigger."""

    MANUAL = "manual"
    API = "api"
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    EVENT = "event"
    FORM = "form"


class TriggerBase(Strict):
    """What every trigger says: whether it fires."""

    enabled: bool = True


class InputTrigger(TriggerBase):
    """A trigger that makes the input of the runs that it starts.

    `SCOPE` types the names that its expressions may use.
    """

    SCOPE: ClassVar[dict[str, cel.Type]] = {}

    input: dict[str, Any] = Field(
        default_factory=dict,
        description="the run's input; strings may hold {{ CEL }}",
        examples=[{"order": "{{ event.key }}"}],
    )
