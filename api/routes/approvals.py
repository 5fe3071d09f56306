"""Approvals: which are open, and answering them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import PageDep, RunPath, StepPath
from api.models.operators import AnswerApproval, ApprovalPage, ApprovalView, OrderAnswer
from api.routes.operators import REFUSALS, DeskDep
from db import approvals
from schemas.operations import Respond
from schemas.run import StepStatus

router = APIRouter(tags=["approvals"])


@router.get("/approvals", responses=problems())
async def list_approvals(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    assignee: Annotated[str | None, Query(max_length=320, pattern=r"^[^\x00]*$")] = None,
    status: Annotated[
        list[StepStatus] | None, Query(max_length=10, description="waiting, if not given")
    ] = None,
) -> ApprovalPage:
    """Approvals, the latest first: those that wait for an answer, or by status."""
    found = await approvals.list_page(
        session,
        workspace,
        assignee=assignee,
        status=status or [StepStatus.WAITING],
        cursor=page.cursor,
        limit=page.limit,
    )
    return ApprovalPage(items=[_view(row) for row in found.items], next_cursor=found.next_cursor)


@router.post("/runs/{run_id}/approvals/{path}", responses=REFUSALS)
async def answer_approval(
    run_id: RunPath, path: StepPath, body: AnswerApproval, desk: DeskDep
) -> OrderAnswer:
    """Approve or reject for one of the assignees; the caller vouches for `by`."""
    order = Respond(path=path, decision=body.decision, data=body.data, by=body.by)
    return await desk.give(run_id, "approval.answer", order)


def _view(row: approvals.Approval) -> ApprovalView:
    step = row.step
    task: dict[str, Any] = step.input if isinstance(step.input, dict) else {}
    return ApprovalView(
        run_id=step.run_id,
        definition=row.definition,
        path=step.path,
        title=step.title,
        status=step.status,
        description=task.get("description"),
        assignees=task.get("assignees") or [],
        approvals=task.get("approvals") or 1,
        form=task.get("form") or {},
        note=step.note,
        output=step.output,
        started_at=row.created_at,
        until=step.until,
    )
