"""Frames: where in the loops of a definition a step stands, and what its expressions see."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.expressions import Reference, prune
from schemas.run import RunStart, RunState, StepState, StepStatus

_ITERATION = re.compile(r"\[\d+\]\.")
_NOT_RUN = {"output": None, "status": StepStatus.PENDING.value, "error": None}


@dataclass(frozen=True)
class Frame:
    """One step list at run time: `prefix` is the path of the loop iteration around it.

    `names` holds `item`, `index` and the loop's own name for the item.
    """

    prefix: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    parent: "Frame | None" = None

    def path(self, step_id: str) -> str:
        """Give a step's path in this frame, `each[3].send` inside a loop."""
        return f"{self.prefix}{step_id}"

    def iteration(self, loop_id: str, index: int, names: dict[str, Any]) -> "Frame":
        """Give the frame of one iteration of a loop in this frame."""
        return Frame(f"{self.prefix}{loop_id}[{index}].", {**self.names, **names}, self)

    def naming(self, names: dict[str, Any]) -> "Frame":
        """Give this frame with more names, for a list that sees `error` or `event`."""
        return Frame(self.prefix, {**self.names, **names}, self.parent)

    @classmethod
    def at(cls, prefix: str, names: dict[str, Any]) -> "Frame":
        """Give the frame of a prefix such as `each[3].inner[0].`, with the frames around it."""
        frame: Frame | None = None
        for end in (0, *(match.end() for match in _ITERATION.finditer(prefix))):
            frame = cls(prefix[:end], names, frame)
        assert frame is not None, "there is at least the definition's own frame"
        return frame

    def find(self, state: RunState, step_id: str) -> StepState | None:
        """Find a step's state in this iteration, or in the nearest one around it."""
        frame: Frame | None = self
        while frame is not None:
            found = state.steps.get(frame.path(step_id))
            if found is not None:
                return found
            frame = frame.parent
        return None


def variables(
    start: RunStart,
    state: RunState,
    frame: Frame,
    references: Iterable[Reference],
    now: str,
) -> dict[str, Any]:
    """Collect what the references name, and nothing else: arguments stay small in history."""
    result: dict[str, Any] = {}
    below: dict[str, list[Reference]] = {}
    for reference in references:
        below.setdefault(reference[0], []).append(reference[1:])
    for root, paths in below.items():
        if root == "steps":
            result[root] = _steps(start, state, frame, paths)
        elif root == "input":
            result[root] = prune(start.input, paths)
        elif root == "vars":
            above = start.batch.vars if start.batch else {}
            result[root] = prune({**above, **state.vars}, paths)
        elif root == "run":
            result[root] = _run(start, state, now)
        elif root == "lead":
            lead = start.lead.model_dump(mode="json") if start.lead else None
            result[root] = prune(lead, paths)
        elif root in frame.names:
            result[root] = prune(frame.names[root], paths)
    return result


def _run(start: RunStart, state: RunState, now: str) -> dict[str, Any]:
    return {
        "id": start.batch.run_id if start.batch else start.run_id,
        "definition": start.definition.name,
        "version": start.version,
        "workspace": start.workspace,
        "started_at": state.started_at.isoformat(),
        "now": now,
    }


def _steps(
    start: RunStart, state: RunState, frame: Frame, paths: list[Reference]
) -> dict[str, Any]:
    """Give the named steps; one that did not run is there with a null output."""
    above = start.batch.steps if start.batch else {}
    names = list(dict.fromkeys(path[0] for path in paths if path))
    if any(not path for path in paths):
        names = list(dict.fromkeys([*above, *(step.id for step in state.steps.values())]))
    result: dict[str, Any] = {}
    for name in names:
        found = frame.find(state, name)
        if found is None:
            view: dict[str, Any] = above.get(name, _NOT_RUN)
        else:
            error = found.error.model_dump(mode="json") if found.error else None
            view = {"output": found.output, "status": found.status.value, "error": error}
        tails = [path[1:] for path in paths if path and path[0] == name]
        result[name] = prune(view, tails or [()])
    return result
