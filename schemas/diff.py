"""What changed between two versions of a definition, in the language's own terms."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from schemas.definition import Definition
from schemas.graph import dependencies
from schemas.step_base import StepBase


class StepChange(BaseModel):
    """One step that differs; `fields` names what changed, `place` is its path in the new version.

    Moved means another list, or other steps to wait for; a removed step has its old place.
    """

    step: str
    type: str
    change: Literal["added", "removed", "changed", "moved"]
    place: str
    fields: list[str] = Field(default_factory=list)


class InputChange(BaseModel):
    """One property of the input schema that differs; breaking means old inputs may be refused."""

    property: str
    change: Literal["added", "removed", "changed", "now_required", "now_optional"]
    breaking: bool


class DefinitionDiff(BaseModel):
    """Everything that differs between two versions, steps in the new version's order."""

    steps: list[StepChange] = Field(default_factory=list)
    input: list[InputChange] = Field(default_factory=list)
    fields: list[str] = Field(default_factory=list, description="of the definition itself")

    @property
    def empty(self) -> bool:
        """True when nothing differs."""
        return not (self.steps or self.input or self.fields)


class _Placed(BaseModel):
    place: str
    around: str
    waits_for: list[str]
    own: dict[str, Any]


def diff(old: Definition, new: Definition) -> DefinitionDiff:
    """Compare two versions; steps are the same when their ids are."""
    before, after = _steps(old), _steps(new)
    changes: list[StepChange] = []
    for step_id, here in after.items():
        there = before.get(step_id)
        kind = str(here.own.get("type"))
        if there is None:
            changes.append(StepChange(step=step_id, type=kind, change="added", place=here.place))
            continue
        fields = _differing(there.own, here.own)
        if fields:
            changes.append(
                StepChange(
                    step=step_id, type=kind, change="changed", place=here.place, fields=fields
                )
            )
        if (there.around, there.waits_for) != (here.around, here.waits_for):
            changes.append(StepChange(step=step_id, type=kind, change="moved", place=here.place))
    changes += [
        StepChange(
            step=step_id, type=str(there.own.get("type")), change="removed", place=there.place
        )
        for step_id, there in before.items()
        if step_id not in after
    ]
    lists = {"steps", "on_failure", "on_goal", "input"}
    tops = _differing(_dump(old, lists), _dump(new, lists))
    return DefinitionDiff(steps=changes, input=_inputs(old.input, new.input), fields=tops)


def _steps(definition: Definition) -> dict[str, _Placed]:
    return dict(
        entry
        for path, steps in definition.top_lists()
        for entry in _placed(steps, path, around=path)
    )


def _placed(steps: Sequence[StepBase], path: str, around: str) -> Iterator[tuple[str, _Placed]]:
    waits_for = dependencies(steps)
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        yield (
            step.id,
            _Placed(place=here, around=around, waits_for=waits_for[step.id], own=_own(step)),
        )
        for field, nested in step.step_lists():
            yield from _placed(nested, f"{here}.{field}", around=f"{step.id}.{field}")


def _own(step: StepBase) -> dict[str, Any]:
    """Give a step's fields with its nested steps named only: those are compared for themselves."""
    dumped = step.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _without_steps(dumped, {"depends_on"})


def _without_steps(value: Any, left_out: set[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_steps(item, set())
            for key, item in value.items()
            if key not in left_out and not _is_step_list(item)
        }
    if isinstance(value, list):
        return [_without_steps(item, set()) for item in value]
    return value


def _is_step_list(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "id" in item and "type" in item for item in value)
    )


def _dump(definition: Definition, left_out: set[str]) -> dict[str, Any]:
    return definition.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=left_out)


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    names = dict.fromkeys([*old, *new])
    return [name for name in names if old.get(name) != new.get(name)]


def _inputs(old: dict[str, Any], new: dict[str, Any]) -> list[InputChange]:
    before, after = old.get("properties", {}), new.get("properties", {})
    had, needs = set(old.get("required", [])), set(new.get("required", []))
    closed = new.get("additionalProperties") is False
    found: list[InputChange] = []
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            breaking = name in needs
            found.append(InputChange(property=name, change="added", breaking=breaking))
        elif name not in after:
            found.append(InputChange(property=name, change="removed", breaking=closed))
        else:
            if before[name] != after[name]:
                found.append(InputChange(property=name, change="changed", breaking=True))
            if name in needs - had:
                found.append(InputChange(property=name, change="now_required", breaking=True))
            elif name in had - needs:
                found.append(InputChange(property=name, change="now_optional", breaking=False))
    return found
