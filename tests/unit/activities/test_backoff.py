from datetime import timedelta
from random import Random

import pytest

from activities.backoff import MAX_RETRY_AFTER, backoff, next_delay
from schemas.policies import Retry


def retry(**policy: object) -> Retry:
    return Retry.model_validate(policy)


def test_without_jitter_it_grows_by_the_factor_up_to_the_cap() -> None:
    policy = retry(initial="1s", factor=3, max="20s", jitter=False)
    delays = [backoff(policy, attempt, Random(1)).total_seconds() for attempt in range(1, 6)]
    assert delays == [1, 3, 9, 20, 20]


@pytest.mark.parametrize("attempt", range(1, 12))
def test_jitter_stays_between_half_and_all(attempt: int) -> None:
    policy = retry(initial="2s", factor=2, max="60s")
    ceiling = min(2 * 2 ** (attempt - 1), 60)
    random = Random(attempt)
    delays = [backoff(policy, attempt, random).total_seconds() for _ in range(500)]
    assert all(ceiling / 2 <= delay <= ceiling for delay in delays)
    # It spreads: a tenth of the range holds no more than a quarter of the draws.
    tenth = [delay for delay in delays if delay < ceiling * 0.55]
    assert len(tenth) < 125


def test_the_same_seed_gives_the_same_delays() -> None:
    policy = retry()
    assert [backoff(policy, n, Random(7)) for n in (1, 2, 3)] == [
        backoff(policy, n, Random(7)) for n in (1, 2, 3)
    ]


def test_a_hundredth_attempt_does_not_overflow() -> None:
    policy = retry(attempts=100, factor=10, max="365d", jitter=False)
    assert backoff(policy, 100, Random(1)) == timedelta(days=365)


def test_retry_after_counts_where_it_is_longer() -> None:
    policy = retry(initial="4s", jitter=False)
    assert next_delay(policy, 1, Random(1), 30.0) == timedelta(seconds=30)
    assert next_delay(policy, 1, Random(1), 2.0) == timedelta(seconds=4)
    assert next_delay(policy, 1, Random(1), -5.0) == timedelta(seconds=4)
    assert next_delay(policy, 1, Random(1), None) == timedelta(seconds=4)


def test_a_hostile_retry_after_is_capped() -> None:
    assert next_delay(retry(), 1, Random(1), 1e12) == MAX_RETRY_AFTER
