"""What payload encryption costs: `python -m benchmarks.sealed [PAIRS] [RUNS]`.

Runs of ten no-ops in this process, by turns without and with sealed payloads; CPU time is of this
process alone, which is the worker and the client, and not of Temporal or PostgreSQL.
"""

import asyncio
import os
import statistics
import sys
import time
from uuid import uuid4

from benchmarks.noop import registry
from benchmarks.stack import Stack, running_stack
from db.ids import new_id
from schemas.definition import Definition
from schemas.keyring import KEY_BYTES, KeyRing
from schemas.run import RunStart
from settings import load_settings
from workflows.codec import PayloadEncryption, SealingCodec
from workflows.gateway import Gateway
from workflows.setup import connect
from workflows.worker_options import build_worker

_STEPS = [{"id": f"s{n}", "type": "noop", "with": {"value": n}} for n in range(10)]
_DEFINITION = Definition.model_validate({"name": "sealed-noop", "steps": _STEPS})
_AT_ONCE = 10


async def _turn(stack: Stack, codec: SealingCodec | None, runs: int) -> float:
    """Run so many; gives CPU seconds a run."""
    queue = f"sealed-{uuid4().hex[:8]}"
    client = await connect(stack.temporal.address, codec=codec)
    gateway = Gateway(client, task_queue=queue, deadline=30)
    settings = load_settings(None, database_url=stack.database_url, temporal_address="-")
    services = settings.services(stack.database)

    async def one() -> None:
        start = RunStart(
            definition=_DEFINITION, version=1, run_id=new_id(), workspace="default", input={}
        )
        await gateway.start(start)
        await client.get_workflow_handle(start.workflow_id).result()

    async def some(count: int) -> None:
        for _ in range(count):
            await one()

    async with build_worker(
        client, registry().activities(services), task_queue=queue, sandboxed=False
    ):
        await one()
        began = time.process_time()
        await asyncio.gather(*(some(runs // _AT_ONCE) for _ in range(_AT_ONCE)))
        spent = time.process_time() - began
    await services.aclose()
    return spent / runs


async def _main(pairs: int, runs: int) -> None:
    codec = SealingCodec(KeyRing({"b": os.urandom(KEY_BYTES)}), PayloadEncryption.REQUIRED)
    async with running_stack() as stack:
        ratios: list[float] = []
        for number in range(pairs):
            plain = await _turn(stack, None, runs)
            sealed = await _turn(stack, codec, runs)
            ratios.append(sealed / plain)
            print(
                f"pair {number + 1}: {plain * 1000:.1f} ms of CPU a run without, "
                f"{sealed * 1000:.1f} ms with, ratio {sealed / plain:.3f}"
            )
        print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    asyncio.run(_main(*(given + [3, 100][len(given) :])))
