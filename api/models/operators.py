"""What operators and assignees send, and the approvals that are open."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.models.common import STEP_PATH, Closed
from schemas.run import RunStatus, StepStatus
from schemas.step_base import StepId

By = Annotated[str, Field(min_length=1, max_length=320, description="who decides; for the audit")]


class RetryStep(Closed):
    """Another attempt of a held step; `input` replaces its rendered `with`."""

    input: dict[str, Any] | None = None
    by: By | None = None


class SkipStep(Closed):
    """A held step is skipped and has this output."""

    output: Any = None
    by: By | None = None


class AbortStep(Closed):
    """A held step fails, and with it the run."""

    by: By | None = None


class VarsPatch(Closed):
    """New values of `vars`; names that are not given keep theirs."""

    vars: Annotated[dict[StepId, Any], Field(min_length=1, max_length=100)]
    by: By | None = None


class RewindRun(Closed):
    """The step to go back to."""

    path: Annotated[str, Field(pattern=STEP_PATH)]
    by: By | None = None


class AnswerApproval(Closed):
    """One person's answer; `data` is checked against the approval's form."""

    decision: Literal["approved", "rejected"]
    data: dict[str, Any] = Field(default_factory=dict)
    by: Annotated[str, Field(min_length=1, max_length=320, description="one of the assignees")]


class OrderAnswer(BaseModel):
    """The run that carried an order out, and its status right after."""

    id: str
    status: RunStatus


class ApprovalView(BaseModel):
    """One approval of a run: what is asked, of whom, and how it stands."""

    run_id: str
    definition: str
    path: str
    title: str | None = None
    status: StepStatus
    description: str | None = None
    assignees: list[str] = Field(default_factory=list)
    approvals: int = 1
    form: dict[str, Any] = Field(default_factory=dict)
    note: str | None = None
    output: Any = None
    started_at: datetime
    until: datetime | None = None


class ApprovalPage(BaseModel):
    """Approvals, the latest first."""

    items: list[ApprovalView]
    next_cursor: str | None = None
