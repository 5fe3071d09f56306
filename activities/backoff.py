"""When a failed action is tried again: capped exponential backoff with equal jitter."""

from datetime import timedelta
from random import Random

from schemas.policies import Retry

# A hostile or confused server must not park a step for years with one header.
MAX_RETRY_AFTER = timedelta(hours=1)


def backoff(retry: Retry, attempt: int, random: Random) -> timedelta:
    """Give the time between attempt number `attempt` (from 1) and the next one.

    It is `initial * factor^(attempt-1)`, at most `max`; with `jitter` a uniformly random time
    between half of that and all of it ("equal jitter": M. Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015), so that many steps failing together spread out.
    """
    ceiling = retry.max.total_seconds()
    # Stop multiplying at the cap: factor^attempts would overflow a float for long policies.
    seconds = retry.initial.total_seconds()
    for _ in range(attempt - 1):
        if seconds >= ceiling:
            break
        seconds *= retry.factor
    seconds = min(seconds, ceiling)
    if retry.jitter:
        seconds = random.uniform(seconds / 2, seconds)
    return timedelta(seconds=seconds)


def next_delay(
    retry: Retry,
    attempt: int,
    random: Random,
    retry_after: float | None = None,
    own: timedelta | None = None,
) -> timedelta:
    """Give the backoff, or `retry_after` (seconds) where that is longer; at most an hour of it.

    `own` stands for the backoff of an action that has a schedule of its own.
    """
    delay = backoff(retry, attempt, random) if own is None else own
    if retry_after is None:
        return delay
    asked = min(max(retry_after, 0.0), MAX_RETRY_AFTER.total_seconds())
    return max(delay, timedelta(seconds=asked))
