"""Sub-runs of a case: a child run that ends as the case's mock of its step says."""

from typing import Any

from activities.errors import ActionError
from schemas.errors import ErrorCode
from schemas.steps import SubRun
from testing.world import World


def open_mocked(world: World, request: dict[str, Any]) -> dict[str, Any]:
    """Give the definition of a child that ends as mocked, as `open_run` gives the real one.

    Raises ActionError when the case does not mock the step.
    """
    path, name = request["path"], request["definition"]
    attempt = world.next_attempt(path)
    if attempt is None:
        world.problems.append(
            f"the step {path!r} runs the definition {name!r}, which the case does not mock"
        )
        raise ActionError(f"{name} is not mocked", code=ErrorCode.INTERNAL, retryable=False)
    definition: dict[str, Any] = {"name": name}
    step = world.step(path)
    if isinstance(step, SubRun) and step.mode == "detach":
        # Nobody looks at its end.
        end: dict[str, Any] = {"type": "stop"}
    elif attempt.timeout:
        definition["limits"] = {"run_timeout": "1s"}
        end = {"type": "delay", "for": "1h"}
    elif attempt.error is not None:
        end = {"type": "fail", "code": attempt.error.code, "message": attempt.error.message}
    else:
        end = {"type": "stop", "output": world.render(attempt.result)}
    definition["steps"] = [{"id": "mocked", **end}]
    return {"definition": definition, "version": request.get("version") or 1, "priority": 3}
