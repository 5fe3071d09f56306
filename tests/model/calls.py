"""One activity under way without a server: its attempts, and how they end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from temporalio.activity import _Definition
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.workflow import ActivityCancellationType

from workflows.setup import DATA_CONVERTER

_CONVERTER = DATA_CONVERTER.payload_converter
_FAILURES = DATA_CONVERTER.failure_converter
_WAITED_FOR = int(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)


@dataclass
class Call:
    """An activity by its command, and how far it is; it rests between attempts."""

    command: Any
    local: bool
    attempt: int = 1
    cancelled: bool = False
    resting: bool = False
    done: bool = False

    @property
    def waited_for(self) -> bool:
        """Whether the run wants to know how an attempt ends that was under way."""
        return self.command.cancellation_type == _WAITED_FOR

    async def executed(self, function: Callable[..., Any]) -> Any:
        """Execute one attempt, with the information that an activity may ask for."""
        types = _Definition.must_from_callable(function).arg_types
        arguments = _CONVERTER.from_payloads(list(self.command.arguments), types)
        environment = ActivityEnvironment()
        environment.payload_converter = _CONVERTER
        environment.info = replace(
            environment.info,
            attempt=self.attempt,
            activity_id=self.command.activity_id,
            activity_type=self.command.activity_type,
            is_local=self.local,
        )
        return await environment.run(function, *arguments)

    def failed(self, error: Exception) -> tuple[float | None, Failure]:
        """Decide as a server does: seconds until the next attempt, or None and the failure."""
        failure = Failure()
        _FAILURES.to_failure(error, _CONVERTER, failure)
        told = failure.application_failure_info
        policy = self.command.retry_policy
        if self.cancelled:
            return None, self._wrapped(failure, RetryState.RETRY_STATE_CANCEL_REQUESTED)
        if told.non_retryable or told.type in policy.non_retryable_error_types:
            return None, self._wrapped(failure, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
        if policy.maximum_attempts and self.attempt >= policy.maximum_attempts:
            return None, self._wrapped(failure, RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
        if told.HasField("next_retry_delay"):
            return told.next_retry_delay.ToNanoseconds() / 1e9, failure
        rest = policy.initial_interval.ToNanoseconds() / 1e9
        rest *= policy.backoff_coefficient ** (self.attempt - 1)
        most = policy.maximum_interval.ToNanoseconds() / 1e9
        return (min(rest, most) if most else rest), failure

    def cancellation(self) -> Failure:
        """Give the failure of a cancelled activity."""
        failure = Failure()
        _FAILURES.to_failure(CancelledError("cancelled"), _CONVERTER, failure)
        return self._wrapped(failure, RetryState.RETRY_STATE_CANCEL_REQUESTED)

    def _wrapped(self, cause: Failure, why: RetryState.ValueType) -> Failure:
        found = Failure(message="Activity task failed", cause=cause)
        found.activity_failure_info.activity_id = self.command.activity_id
        found.activity_failure_info.activity_type.name = self.command.activity_type
        found.activity_failure_info.retry_state = why
        return found
