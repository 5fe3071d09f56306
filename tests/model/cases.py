"""Cases: a generated definition, what is done to its run, and what the model tells of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from schemas.actions import Catalogue
from schemas.errors import DefinitionError
from schemas.validation import load_definition
from tests.model.generate import Generator
from tests.model.reference import Model
from tests.model.story import Act, Raw, Story, Stuck, Untestable
from tests.model.units import HOUR

# How many orders of simultaneous things are tried; where they disagree the language promises
# nothing and the case is left out. Where a run differs from all of them more are tried: its order
# may be one that they missed.
ORDERS, MANY_ORDERS = 8, 200


@dataclass
class Case:
    """One run to compare; `history_limit` makes it continue as new."""

    name: str
    definition: Raw
    given: Raw
    acts: list[Act] = field(default_factory=list)
    history_limit: int | None = None

    def tell(self, orders: int = ORDERS) -> Story:
        """Tell the run by the model, in so many orders of what is simultaneous.

        Raises Untestable where the language leaves its course open, or the server its end.
        """
        stories = [
            Model(self.definition, self.given, self.acts, order).run() for order in range(orders)
        ]
        if any(digest(story) != digest(stories[0]) for story in stories[1:]):
            raise Untestable("the order of simultaneous things decides")
        return stories[0]


def digest(story: Story) -> str:
    """Give what the language promises of a run as one text, times in half hours."""
    steps = {
        path: [
            told.status,
            told.output if told.status in ("completed", "compensated", "skipped") else None,
            told.error.code if told.error else None,
            told.attempts,
            round(told.started / HOUR * 4),
            round(told.finished / HOUR * 4),
        ]
        for path, told in story.steps.items()
    }
    end: list[Any] = [story.status, story.output, story.error and story.error.view(), story.vars]
    return json.dumps([end, story.undone, story.variants, steps], sort_keys=True)


def make(seed: int, catalogue: Catalogue) -> tuple[Case, Story]:
    """Make the case of a seed and tell it; raises Untestable for a seed that gives none."""
    random = Random(seed)
    writer = Generator(random)
    case = Case(f"model-{seed}", writer.definition(f"model-{seed}"), {"n": random.randint(0, 5)})
    try:
        load_definition(case.definition, catalogue)
    except DefinitionError as error:
        raise Untestable(f"not valid: {error.message}") from error
    case.acts = [*_signals(random, writer.signals), *_events(random), *_answers(random, writer)]
    _decide(random, case)
    model = Model(case.definition, case.given, case.acts, 0)
    length = max(1, int(model.run().ended / HOUR))
    # To continue as new, a run waits for its actions with all their attempts: here for days.
    if random.random() < 0.7 and not model.retried:
        case.history_limit = random.randint(20, 32)
    if random.random() < 0.15 and not any(act.kind == "decide" for act in case.acts):
        begin = random.randint(0, length)
        case.acts.append(Act((begin + 0.75) * HOUR, "pause"))
        case.acts.append(Act((begin + random.randint(1, 100) + 0.75) * HOUR, "resume"))
    if random.random() < 0.35:
        when = random.randint(0, length)
        case.acts.append(Act((when + 0.5) * HOUR, "cancel"))
        if random.random() < 0.5:
            case.acts.append(Act((when + random.randint(1, 60) + 0.5) * HOUR, "cancel"))
    case.acts.sort(key=lambda act: act.at)
    return case, case.tell()


def _signals(random: Random, names: list[str]) -> list[Act]:
    acts: list[Act] = []
    for number, name in enumerate(names):
        if random.random() < 0.6:
            at = (random.randint(0, 500) + 0.25) * HOUR
            acts.append(Act(at, "signal", name, {"number": number}))
    return acts


def _events(random: Random) -> list[Act]:
    acts: list[Act] = []
    for number in range(6):
        if random.random() < 0.4:
            at = (random.randint(0, 500) + 0.3) * HOUR
            kind = "goal.done" if random.random() < 0.15 else f"e.e{random.randint(0, 2)}"
            data = {"key": f"k{random.randint(0, 5)}", "data": {"number": number}}
            acts.append(Act(at, "event", kind, data))
    return acts


def _answers(random: Random, writer: Generator) -> list[Act]:
    acts: list[Act] = []
    for name in writer.approvals:
        for by in ("ada", "bob", "eve"):
            at = (random.randint(0, 500) + 0.35) * HOUR
            decision = "approved" if random.random() < 0.7 else "rejected"
            if random.random() < 0.7:
                answer = {"decision": decision, "by": by, "data": {}}
                acts.append(Act(at, "respond", name, answer))
    return acts


def _decide(random: Random, case: Case) -> None:
    """Let an operator decide about every step that is held, as it comes to be."""
    for _ in range(8):
        try:
            Model(case.definition, case.given, case.acts, 0).run()
        except Stuck as stuck:
            for path in stuck.paths:
                at = (int(stuck.at / HOUR) + random.randint(1, 40) + 0.4) * HOUR
                order: Raw = {"action": random.choice(["retry", "retry", "skip", "abort"])}
                if order["action"] == "skip":
                    order["output"] = {"skipped": random.randint(0, 5)}
                elif order["action"] == "retry" and _is_action(path) and random.random() < 0.5:
                    order["input"] = {"value": 7}
                case.acts.append(Act(at, "decide", path, order))
        else:
            return
    raise Untestable("operators decide without end")


def _is_action(path: str) -> bool:
    """Only an action can be tried again with other parameters; the ids of probes begin so."""
    return path.rsplit(".", 1)[-1].startswith("a")


def cases(
    first: int, catalogue: Catalogue, skipped: list[str]
) -> Iterator[tuple[int, Case, Story]]:
    """Give seeds with their cases and stories from `first` on, without end.

    Why seeds gave no case is added to `skipped`.
    """
    seed = first
    while True:
        try:
            case, story = make(seed, catalogue)
        except (Untestable, Stuck) as reason:
            skipped.append(str(reason))
        else:
            yield seed, case, story
        seed += 1
