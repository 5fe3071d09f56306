"""Where a worker crashes in a chaos case, and which calls the fakes saw."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

When = Literal["before", "effect", "after"]
WHEN: tuple[When, ...] = ("before", "effect", "after")
SAID: dict[When, str] = {
    "before": "before its call",
    "effect": "after its effect, before that is reported",
    "after": "after it is recorded",
}


@dataclass(frozen=True)
class Call:
    """One call that reached the fakes; `key` is the step's key where an action was called."""

    name: str
    path: str
    key: str | None = None
    params: Any = None


@dataclass(frozen=True)
class Point:
    """A place to crash at: around the `nth` call (from 1) of an activity at a path."""

    name: str
    path: str
    nth: int
    when: When

    def __str__(self) -> str:
        """Say where it is."""
        times = f" ({self.nth}.)" if self.nth > 1 else ""
        if self.name == "record":
            return f"record {self.path.rpartition('-')[2]} of the run's state{times}: kept"
        return f"{self.path}{times}: {SAID[self.when]}"


@dataclass
class Plan:
    """Which crashes are still to come, and the calls so far, over all workers of a case.

    `once` holds the answers to steps with `delivery: at_most_once` by their keys; of those that
    are `parked` a crash has left in doubt whether they took effect.
    """

    points: list[Point] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    crashes: int = 0
    once: dict[str, Any] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def arrive(self, name: str, path: str) -> When | None:
        """Count a call that has come, and say whether the worker is to crash around it."""
        self._counts[name, path] += 1
        nth = self._counts[name, path]
        for point in self.points:
            if (point.name, point.path, point.nth) == (name, path, nth):
                self.points.remove(point)
                self.crashes += 1
                return point.when
        return None

    def repeats(self) -> int:
        """Count the action calls that came more than once under the same key."""
        keys = [call.key for call in self.calls if call.key is not None]
        return len(keys) - len(set(keys))


def boundaries(calls: Iterable[Call]) -> list[Point]:
    """Give every place to crash at in a case, from the calls of its calm run.

    Around an action there are three; what else is called (records, verdicts, subscriptions) has
    no effect outside, and one crash behind each is enough.
    """
    counts: Counter[tuple[str, str]] = Counter()
    points: list[Point] = []
    for call in calls:
        counts[call.name, call.path] += 1
        nth = counts[call.name, call.path]
        whens: tuple[When, ...] = WHEN if call.key is not None else ("effect",)
        points += [Point(call.name, call.path, nth, when) for when in whens]
    return points


def at_random(points: list[Point], moments: random.Random) -> list[Point]:
    """Choose some of the places, at most three and around different calls."""
    chosen = moments.sample(points, min(len(points), moments.randint(1, 3)))
    return list({(point.name, point.path, point.nth): point for point in chosen}.values())
