"""The hand-written workflows, typed, with the retry policy that Sojourn's steps have by default."""

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from benchmarks.handwritten_activities import Http, enough, noop
    from benchmarks.noop import NoopParams

STEPS = 10
_TIMEOUT = timedelta(seconds=30)
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=60),
    maximum_attempts=4,
)


class Order(BaseModel):
    """The input of every workflow; the same values are the `input` of Sojourn's runs."""

    budget: int
    url: str


@workflow.defn(name="HandwrittenNoop")
class NoopWorkflow:
    """Ten sequential no-op activities."""

    @workflow.run
    async def run(self, order: Order) -> int:  # noqa: ARG002 - all cases have one input
        value = 0
        for number in range(STEPS):
            result = await workflow.execute_activity(
                noop,
                NoopParams(value=number),
                start_to_close_timeout=_TIMEOUT,
                retry_policy=_RETRY,
            )
            value += result.value
        return value


@workflow.defn(name="HandwrittenConditions")
class ConditionsWorkflow:
    """Ten conditions decided in local activities."""

    @workflow.run
    async def run(self, order: Order) -> int:
        met = 0
        for number in range(STEPS):
            met += await workflow.execute_local_activity(
                enough,
                args=[order.budget, number],
                start_to_close_timeout=_TIMEOUT,
                retry_policy=_RETRY,
            )
        return met


@workflow.defn(name="HandwrittenHttp")
class HttpWorkflow:
    """Ten sequential HTTP requests."""

    @workflow.run
    async def run(self, order: Order) -> int:
        status = 0
        for _ in range(STEPS):
            answer = await workflow.execute_activity_method(
                Http.fetch,
                order.url,
                start_to_close_timeout=_TIMEOUT,
                retry_policy=_RETRY,
            )
            status = answer.status
        return status


WORKFLOWS = [NoopWorkflow, ConditionsWorkflow, HttpWorkflow]
