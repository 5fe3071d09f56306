"""The interpreter and the reference model agree, and would not if the interpreter were wrong."""

import asyncio
import json
import logging
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import Any

import pytest

from tests.kit.probes import registry
from tests.model.cases import Case, cases
from tests.model.compare import differences
from tests.model.player import Player
from tests.model.seeds import FOUND
from tests.model.story import Story
from workflows import undo, walk
from workflows.steps import for_each, parallel, repeat

_log = logging.getLogger("sojourn.model")
_ABREAST = 6
USUAL, LONG = 300, 5000
Told = tuple[int, Case, Story]


@lru_cache(maxsize=1)
def _usual() -> list[Told]:
    """The definitions of every test run."""
    return list(islice(cases(1, registry(), _left_out), USUAL))


_left_out: list[str] = []


async def _disagreements(player: Player, told: list[Told]) -> dict[int, list[str]]:
    """Play cases side by side; gives the differences of each seed that has some."""
    found: dict[int, list[str]] = {}
    places = asyncio.Semaphore(_ABREAST)

    async def one(seed: int, case: Case, story: Story) -> None:
        async with places:
            played = await player.play(case, story.ended)
        if wrong := differences(case, story, played):
            found[seed] = wrong

    async with asyncio.TaskGroup() as group:
        for entry in told:
            group.create_task(one(*entry))
    return found


async def test_interpreter_and_model_agree(player: Player, long: bool, seed: int) -> None:
    skipped: list[str] = []
    stream = islice(cases(seed, registry(), skipped), LONG) if long else iter(_usual())
    ends: Counter[str] = Counter()
    undone = steps = played = 0
    while told := list(islice(stream, 100)):
        wrong = await _disagreements(player, told)
        shown = {seed: [*lines, *_text(told, seed)] for seed, lines in wrong.items()}
        assert not wrong, "\n".join(line for lines in shown.values() for line in lines)
        played += len(told)
        ends.update(story.status for _, _, story in told)
        undone += sum(bool(story.undone) for _, _, story in told)
        steps += sum(len(story.steps) for _, _, story in told)
    _log.warning(
        "%d definitions agree: %s, %d with compensations, %d steps; %d seeds left out",
        played,
        dict(ends),
        undone,
        steps,
        len(skipped if long else _left_out),
    )
    # Enough of each kind of end, or the generator has become tame.
    assert min(ends.values()) > played / 10
    assert undone > played / 20


def _text(told: list[Told], seed: int) -> list[str]:
    case = next(case for number, case, _ in told if number == seed)
    return [
        f"seed {seed}, acts {case.acts}, limit {case.history_limit}",
        json.dumps(case.definition),
    ]


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.name)
async def test_what_once_differed(case: Case, player: Player) -> None:
    story = case.tell()
    assert differences(case, story, await player.play(case, story.ended)) == []


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
    module: Any, name: str, broken: Any, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: an interpreter with one wrong detail differs within the usual definitions."""
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    stream = iter(_usual())
    while told := list(islice(stream, 12)):
        if await _disagreements(player, told):
            return
    pytest.fail("nobody saw it")
