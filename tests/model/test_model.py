"""The interpreter and the reference model agree, and would not if the interpreter were wrong."""

import json
import logging
import time
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import Any

import pytest

from tests.faults.evidence import figures
from tests.kit.probes import registry
from tests.model.cases import Case, cases
from tests.model.seeds import FOUND
from tests.model.stage import Stage, Told
from tests.model.wrongs import WRONGS

_log = logging.getLogger("sojourn.model")
# How many must be compared, and how many are told for that: a few turn out to be open.
USUAL, LONG = 200, 2000
_TOLD = {USUAL: 203, LONG: 2010}
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
    figures(
        "T7 generated definitions on a server",
        definitions=compared,
        different=len(wrong),
        steps=steps,
        **{f"runs_{status}": number for status, number in sorted(ends.items())},
        with_compensations=undone,
        order_left_open=len(open_),
        without_an_answer=len(unanswered),
        seconds=round(time.monotonic() - began),
        first_seed=seed if long else 1,
    )


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


@pytest.mark.parametrize(("module", "name", "broken"), WRONGS[:2], ids=["order", "failed"])
async def test_a_wrong_interpreter_is_found(
    module: Any, name: str, broken: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: an interpreter with one wrong detail differs within the usual definitions.

    More of them are tried without a server.
    """
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    stream = iter(_usual())
    while told := list(islice(stream, 12)):
        if (await stage.compare(told)).wrong:
            return
    pytest.fail("nobody saw it")
