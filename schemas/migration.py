"""Whether an open run can go on in another version of its definition."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, Field

from schemas.definition import Definition
from schemas.run import RunState


class Fit(StrEnum):
    """How a run fits another version: as it is, through a mapping of step ids, or not."""

    SAFE = "safe"
    MAPPED = "mapped"
    BLOCKED = "blocked"


class Compatibility(BaseModel):
    """The verdict for one run, with every reason against it."""

    fit: Fit
    reasons: list[str] = Field(default_factory=list)


def compatibility(
    state: RunState, new: Definition, mapping: Mapping[str, str] | None = None
) -> Compatibility:
    """Judge a run's begun steps against a version: each must be there, and of the same type."""
    mapping = mapping or {}
    kinds = {step.id: getattr(step, "type", "") for _, step in new.walk()}
    reasons: list[str] = []
    mapped = False
    for step in state.steps.values():
        wanted = mapping.get(step.id, step.id)
        mapped = mapped or wanted != step.id
        if wanted not in kinds:
            reasons.append(f"the {step.status.value} step {step.path!r} is missing: {wanted!r}")
        elif kinds[wanted] != step.type:
            reasons.append(
                f"the {step.status.value} step {step.path!r} changed its type "
                f"from {step.type!r} to {kinds[wanted]!r}"
            )
    if reasons:
        return Compatibility(fit=Fit.BLOCKED, reasons=list(dict.fromkeys(reasons)))
    return Compatibility(fit=Fit.MAPPED if mapped else Fit.SAFE)
