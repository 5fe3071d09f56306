"""The interpreter without a server agrees with the reference model, for many more definitions."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from tests.faults.evidence import figures
from tests.kit.probes import registry
from tests.model.cases import Case, cases
from tests.model.compare import differences
from tests.model.core import Core, Stopped
from tests.model.seeds import FOUND
from tests.model.stage import is_open
from tests.model.story import Story
from tests.model.wrongs import WRONGS

_log = logging.getLogger("sojourn.model")
USUAL, LONG = 500, 20_000
# A wrong interpreter differs within so many, or nobody sees it.
_FOR_CONTROLS = 300
# Disagreements, after which the rest is not played.
_ENOUGH = 20


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    """Plays cases."""
    loggers = [logging.getLogger(name) for name in ("temporalio.workflow", "temporalio.activity")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        # Probes fail by the thousand, and are meant to.
        logger.setLevel(logging.ERROR)
    found = Core()
    yield found
    found.close()
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _compared(core: Core, case: Case, story: Story, seed: int) -> list[str]:
    try:
        return differences(case, story, core.play(case, story.ended, seed))
    except Stopped as stop:
        return [str(stop)]


def test_core_and_model_agree(core: Core, long: bool, seed: int) -> None:
    """Output, steps, times, errors and compensations of generated definitions are the model's."""
    wanted = LONG if long else USUAL
    left_out: list[str] = []
    ends: Counter[str] = Counter()
    wrong: dict[int, list[str]] = {}
    open_: list[int] = []
    compared = steps = undone = 0
    began = time.process_time()
    for number, case, story in cases(seed if long else 1, registry(), left_out):
        found = _compared(core, case, story, number)
        if found and is_open(case):
            open_.append(number)
            continue
        if found:
            acts = f"acts {case.acts}, limit {case.history_limit}"
            wrong[number] = [f"seed {number}, {acts}", json.dumps(case.definition), *found]
        compared += 1
        ends[story.status] += 1
        steps += len(story.steps)
        undone += bool(story.undone)
        if compared >= wanted or len(wrong) >= _ENOUGH:
            break
    seconds = round(time.process_time() - began)
    _log.warning(
        "%d compared in %d s, open after all: %s, %s", compared, seconds, open_, dict(ends)
    )
    assert not wrong, "\n".join(line for lines in wrong.values() for line in lines)
    # Enough of each kind of end, or the generator has become tame.
    assert min(ends.values()) > compared / 10
    assert undone > compared / 20
    figures(
        "T7 generated definitions without a server",
        definitions=compared,
        different=len(wrong),
        steps=steps,
        **{f"runs_{status}": number for status, number in sorted(ends.items())},
        with_compensations=undone,
        order_left_open=len(open_),
        cpu_seconds=seconds,
        first_seed=seed if long else 1,
    )


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.name)
def test_what_once_differed(case: Case, core: Core) -> None:
    """Each definition that once showed a fault, in three orders of what is simultaneous."""
    story = case.tell()
    assert [_compared(core, case, story, seed) for seed in range(3)] == [[], [], []]


@pytest.mark.parametrize(
    ("module", "name", "broken"), WRONGS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_wrong_interpreter_is_found(
    module: Any,
    name: str,
    broken: Callable[[Any], Any],
    core: Core,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control: an interpreter with one wrong detail differs."""
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    for number, case, story in islice(cases(1, registry(), []), _FOR_CONTROLS):
        if _compared(core, case, story, number) and not is_open(case):
            return
    pytest.fail("nobody saw it")
