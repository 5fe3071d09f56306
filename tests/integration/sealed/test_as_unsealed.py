"""What works without encryption works with it: tests of elsewhere, on this folder's servers."""

from tests.integration.api.conftest import publish
from tests.integration.api.test_events import (
    test_failure,
    test_order_and_resumption,
)
from tests.integration.api.test_recreating import (
    test_a_run_that_has_continued_as_new,
    test_runs_of_runs,
    test_runs_that_have_ended,
)
from tests.integration.test_control import (
    steer,
    test_a_paused_run_starts_nothing_until_it_is_resumed,
    test_cancel_during_a_delay,
)
from tests.integration.test_operators import (
    test_a_held_step_is_retried_after_its_vars_were_changed,
    test_an_approval_is_listed_answered_and_closed,
)
from tests.integration.test_sub_runs import (
    test_a_cancel_reaches_the_run_below,
    test_a_failure_keeps_its_code_and_names_the_run_below,
)

__all__ = [
    "publish",
    "steer",
    "test_a_cancel_reaches_the_run_below",
    "test_a_failure_keeps_its_code_and_names_the_run_below",
    "test_a_held_step_is_retried_after_its_vars_were_changed",
    "test_a_paused_run_starts_nothing_until_it_is_resumed",
    "test_a_run_that_has_continued_as_new",
    "test_an_approval_is_listed_answered_and_closed",
    "test_cancel_during_a_delay",
    "test_failure",
    "test_order_and_resumption",
    "test_runs_of_runs",
    "test_runs_that_have_ended",
]
