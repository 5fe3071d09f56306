"""The interpreter and the reference model agree, and would not if the interpreter were wrong."""

import asyncio
import json
import logging
import time
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import Any

import pytest

from tests.kit.probes import registry
from tests.model.cases import Case, cases
from tests.model.seeds import FOUND
from tests.model.stage import Stage, Told
from workflows import undo, walk
from workflows.steps import for_each, parallel, repeat

_log = logging.getLogger("sojourn.model")
# How many must be compared, and how many are told for that: a few turn out to be open.
USUAL, LONG = 300, 5000
_TOLD = {USUAL: 303, LONG: 5020}
# Disagreements, after which the rest is not played.
_ENOUGH = 20


@lru_cache(maxsize=1)
def _usual() -> list[Told]:
    """The definitions of every test run."""
    return list(islice(cases(1, registry(), _left_out), _TOLD[USUAL]))


_left_out: list[str] = []


async def test_interpreter_and_model_agree(stage: Stage, long: bool, seed: int) -> None:
    skipped: list[str] = []
    stream = islice(cases(seed, registry(), skipped), _TOLD[LONG]) if long else iter(_usual())
    ends: Counter[str] = Counter()
    undone = steps = compared = 0
    wrong: dict[int, list[str]] = {}
    unanswered: list[int] = []
    again: list[int] = []
    open_: list[int] = []
    began = time.monotonic()
    while len(wrong) < _ENOUGH and (told := list(islice(stream, 100))):
        found = await stage.compare(told)
        wrong |= {seed: [*lines, *_text(told, seed)] for seed, lines in found.wrong.items()}
        unanswered += found.unanswered
        again += found.again
        open_ += found.open
        compared += found.played - len(found.open)
        ends.update(story.status for _, _, story in told)
        undone += sum(bool(story.undone) for _, _, story in told)
        steps += sum(len(story.steps) for _, _, story in told)
        if long and compared % 1000 < 100:
            _log.warning("%d definitions compared, %d disagree", compared, len(wrong))
    _log.warning(
        "%d definitions compared in %.0f s, %d disagree %s, %d without an answer %s, %d played "
        "twice %s, %d open after all %s: %s, %d with compensations, %d steps; %d seeds left out",
        compared,
        time.monotonic() - began,
        len(wrong),
        list(wrong),
        len(unanswered),
        unanswered,
        len(again),
        again,
        len(open_),
        open_,
        dict(ends),
        undone,
        steps,
        len(skipped if long else _left_out),
    )
    assert not wrong, "\n".join(line for lines in wrong.values() for line in lines)
    assert not unanswered, f"twice no answer: {unanswered}"
    assert compared >= (LONG if long else USUAL)
    # Enough of each kind of end, or the generator has become tame.
    assert min(ends.values()) > compared / 10
    assert undone > compared / 20


def _text(told: list[Told], seed: int) -> list[str]:
    case = next(case for number, case, _ in told if number == seed)
    return [
        f"seed {seed}, acts {case.acts}, limit {case.history_limit}",
        json.dumps(case.definition),
    ]


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.name)
async def test_what_once_differed(case: Case, stage: Stage) -> None:
    found = await stage.compare([(0, case, case.tell())])
    assert (found.wrong, found.unanswered) == ({}, [])


def _oldest_first(due: Any) -> Any:
    return lambda run: list(reversed(due(run)))


def _one_more(gather: Any) -> Any:
    return lambda calls, limit: gather(calls, limit + 1)


def _first(last_output: Any) -> Any:
    return lambda run, steps, frame: last_output(run, steps[:1], frame)


def _nothing(_: Any) -> Any:
    return lambda *_: None


def _not_cancelled(_: Any) -> Any:
    async def cancel(tasks: list[Any]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    return cancel


def _always(_: Any) -> Any:
    async def holds(*_: Any) -> bool:
        return True

    return holds


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (undo, "due", _oldest_first),
        (undo, "failed", _nothing),
        (for_each, "gather", _one_more),
        (walk, "last_output", _first),
        (walk, "_passes", _always),
        (parallel, "cancel", _not_cancelled),
        (repeat, "_holds", _always),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_wrong_interpreter_is_found(
    module: Any, name: str, broken: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: an interpreter with one wrong detail differs within the usual definitions."""
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    stream = iter(_usual())
    while told := list(islice(stream, 12)):
        if (await stage.compare(told)).wrong:
            return
    pytest.fail("nobody saw it")
