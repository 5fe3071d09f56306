"""Orders of operators to open runs: carried out through Temporal, then written to the audit."""

from dataclasses import dataclass

from api.models.operators import OrderAnswer
from db import audit, parked_sends, run_logs, runs
from db.engine import Database
from db.operator_log import operator_line
from schemas.errors import ConflictError, NotFoundError, UnavailableError
from schemas.masking import Masking
from schemas.operations import Decide
from schemas.run import RunStatus
from workflows.gateway import Gateway, Order

# An update waits for a worker, which may have to replay the run first.
DEADLINE = 5.0


@dataclass(frozen=True)
class Desk:
    """Takes orders for runs of one workspace."""

    database: Database
    gateway: Gateway
    workspace: str
    actor: str
    masking: Masking

    async def give(self, run_id: str, action: str, order: Order) -> OrderAnswer:
        """Give an order; raises what the run refuses it with, NotFoundError, ConflictError.

        An order whose fate is not known (UnavailableError) is written to the audit as such.
        """
        async with self.database.session() as session:
            run = await runs.get(session, self.workspace, run_id)
        if run.status.terminal:
            raise ConflictError(
                f"the run has ended: it is {run.status.value}", hint="start a new run instead"
            )
        try:
            status = await self._carry_out(run.workflow_id, order)
        except UnavailableError as error:
            if error.details.get("ambiguous"):
                await self._write(run_id, action, order, "unknown")
            raise
        await self._write(run_id, action, order, "done")
        return OrderAnswer(id=run_id, status=status)

    async def _carry_out(self, workflow_id: str, order: Order) -> RunStatus:
        try:
            return await self.gateway.order(workflow_id, order, deadline=DEADLINE)
        except NotFoundError as error:
            if error.message.startswith("Temporal"):
                raise ConflictError(
                    "the run has not reached Temporal yet", hint="try again in some seconds"
                ) from error
            raise

    async def _write(self, run_id: str, action: str, order: Order, outcome: str) -> None:
        about = order.model_dump(mode="json", exclude_none=True, include={"path", "by", "decision"})
        async with self.database.session() as session:
            audit.add(
                session,
                self.workspace,
                actor=self.actor,
                action=action,
                subject=run_id,
                data={**about, "outcome": outcome},
            )
            if isinstance(order, Decide) and order.action != "retry" and outcome == "done":
                # Whoever skips or aborts the step has decided about what it may have sent.
                reason = f"the step was decided about: {order.action}"
                await parked_sends.give_up(
                    session, self.workspace, run_id, order.path, reason=reason, actor=self.actor
                )
            line = operator_line(action, {**about, "outcome": outcome}, self.actor)
            await run_logs.write(session, self.workspace, run_id, [line], self.masking)
