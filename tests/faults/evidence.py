"""What must be true of mails after kills, the proof that the kills hit anything, and figures."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.servers.smtp_server import Delivery

# Seconds after the server's answer in which a worker may die before the mail's `sent` event is
# stored; the next attempt then sends again.
_IN_DOUBT = 1.0
_MOST_REPEATS_PER_KILL = 1.5
_LEAST_HITS = 0.8

# Where figures are kept for `make chaos-report`, one JSON object a line.
FIGURES = Path(__file__).resolve().parents[2] / ".sojourn" / "figures.jsonl"

Expected = tuple[str, str]


def figures(name: str, **numbers: float | str) -> None:
    """Keep what a test has measured, for docs/reliability.md.

    `name` begins with the promise's number, as in `T1 workers killed`; a number's name is what the
    table shows, with spaces for underscores (`runs`, `seconds_to_heal`). The form, long or short,
    and the time are added.
    """
    form = "long" if os.environ.get("SOJOURN_CHAOS") else "short"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"test": name, "form": form, "at": at, "numbers": numbers}
    FIGURES.parent.mkdir(exist_ok=True)
    with FIGURES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Kill:
    """One kill: when (`time.time()`), how many runs were open, which sends it cut off."""

    at: float
    open_runs: int
    cut: tuple[str, ...] = ()


def check_hits(kills: Sequence[Kill]) -> None:
    """The kills hit work: nearly all met open runs, and at least one fell inside a send."""
    met = sum(kill.open_runs > 0 for kill in kills)
    assert kills, "nothing was killed"
    assert met >= _LEAST_HITS * len(kills), f"{met} of {len(kills)} kills met an open run"
    assert any(kill.cut for kill in kills), f"none of {len(kills)} kills fell inside a send"


def check_mails(
    expected: Iterable[Expected],
    deliveries: Sequence[Delivery],
    kills: Sequence[Kill],
    *,
    most_per_kill: float = _MOST_REPEATS_PER_KILL,
) -> Counter[str]:
    """Every mail came, under one Message-ID, and no more often than kills explain.

    `expected` are recipients with subjects; `most_per_kill` is how many repeats a kill may cause,
    where several mails are sent at once so many. Gives how often each Message-ID came.
    """
    wanted = set(expected)
    came = {(one.to, one.subject) for one in deliveries}
    assert not wanted - came, f"{len(wanted - came)} mails are missing: {sorted(wanted - came)}"
    assert not came - wanted, f"{len(came - wanted)} mails are too many: {sorted(came - wanted)}"
    identities = {(one.to, one.subject, one.message_id) for one in deliveries}
    assert len(identities) == len(wanted), "a mail came under several Message-IDs"
    counts = Counter(one.message_id for one in deliveries)
    for identity, count in counts.items():
        allowed = 1 + sum(_in_doubt(identity, deliveries, kill) for kill in kills)
        assert count <= allowed, f"{identity} came {count} times; kills explain {allowed}"
    repeats = len(deliveries) - len(wanted)
    most = most_per_kill * len(kills)
    assert repeats <= most, f"{repeats} repeats after {len(kills)} kills, at most {most:g}"
    return counts


def _in_doubt(identity: str, deliveries: Sequence[Delivery], kill: Kill) -> bool:
    """Whether a kill came after this message was taken and before that could be recorded."""
    return any(
        one.message_id == identity
        and one.taken_at <= kill.at
        and (one.answered_at is None or kill.at <= one.answered_at + _IN_DOUBT)
        for one in deliveries
    )


def check_within(moments: Sequence[float], begin: float, end: float) -> None:
    """Something happened at all, and everything within an outage; times are of `time.time()`."""
    assert moments, "nothing happened"
    outside = [moment for moment in moments if not begin <= moment <= end]
    assert not outside, f"{len(outside)} of {len(moments)} happened outside the outage"
