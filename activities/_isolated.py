"""Functions in processes of their own, one call each: a timeout or a cancel kills the process."""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from activities.errors import ActionError
from schemas.actions import StepContext
from schemas.errors import SojournError

MAX_ANSWER_BYTES = 12 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_START = "from activities._isolated import main; main()"


async def run_isolated(reference: str, args: Mapping[str, Any], step: StepContext) -> Any:
    """Call `module:name` in a new process and give its result as JSON values.

    Raises ActionError for what the function raises, STEP_FAILED for a process that died.
    """
    call = {"reference": reference, "args": dict(args), "step": step.model_dump(mode="json")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _START,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        limit=MAX_ANSWER_BYTES,
    )
    try:
        answer, _ = await process.communicate(json.dumps(call).encode())
    finally:
        if process.returncode is None:
            process.kill()
            # Whoever waits here is being cut off already.
            await asyncio.shield(process.wait())
    if not answer or len(answer) > MAX_ANSWER_BYTES:
        raise ActionError(f"the process of {reference} ended with {process.returncode}")
    found = json.loads(answer)
    if "error" in found:
        raise ActionError(**found["error"])
    return found["result"]


def main() -> None:
    """Be that process: read the call, make it, write the answer, end at once."""
    if sys.platform == "linux":
        # The worker may be killed: nobody would wait for the answer.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # What the function prints must not stand in the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    call = json.load(sys.stdin)
    answer = asyncio.run(_answer(call["reference"], call["args"], call["step"]))
    with os.fdopen(out, "w") as stream:
        json.dump(answer, stream)
    os._exit(0)


async def _answer(reference: str, args: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    # Imported here: that module imports this one.
    from dataclasses import replace

    from activities.functions import Functions

    context = StepContext.model_validate(step)
    functions = Functions.load([reference.partition(":")[0]])
    found = replace(functions.get(context.workspace, reference), isolated=False)
    try:
        return {"result": await found.call(args, context, functions.threads)}
    except SojournError as error:
        told = {
            "message": error.message,
            "code": str(error.code),
            "retryable": getattr(error, "retryable", False),
            "details": error.details,
            "hint": error.hint,
        }
        return {"error": json.loads(json.dumps(told, default=str))}
