"""A model's answer is paid for once: the worker dies between the answer and the step's end."""

import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlmodel import col, select

from db.ai_ledger import AiUsage, CallState
from db.run_table import Run
from schemas.run import RunStatus
from tests.faults.evidence import figures
from tests.faults.stand import Stand, until
from tests.servers.ai_server import AiServer

_ROOT = str(Path(__file__).resolve().parents[2])
_SOURCE = """
name: {name}
steps:
  - id: ask
    type: ai
    timeout: 5s
    retry: {{attempts: 10, initial: 200ms, factor: 1}}
    with: {{model: "openai:tiny", prompt: "A good lead?"}}
output: {{said: "{{{{ steps.ask.output.text }}}}"}}
"""
# A worker that ends by SIGKILL where an answer has come, once; with `forgets` it stores none.
_MORTAL = """#!{python}
import os, pathlib, signal, sys
sys.path.insert(0, {root!r})
from activities import _turns, ai
from cli import app
remember = ai.remember
async def die(*rest):
    mark = pathlib.Path({mark!r})
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return await remember(*rest)
ai.remember = die
async def forget(*rest):
    pass
if {forgets}:
    _turns.ai_answers.keep_result = forget
app()
"""


@pytest.mark.parametrize("forgets", [False, True], ids=["stored", "control"])
async def test_an_answer_is_paid_for_once(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    """The next attempt finds the answer under the step's key; without the store it asks again."""
    program = tmp_path / "mortal"
    script = _MORTAL.format(
        python=sys.executable, root=_ROOT, mark=str(tmp_path / "died"), forgets=forgets
    )
    program.write_text(script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("tests.faults.stand._PROGRAM", str(program))
    async with AiServer(text="Yes") as model:
        settings = {
            "SOJOURN_STICKY_TIMEOUT": "1",
            "SOJOURN_AI_ALLOW_CIDRS": "127.0.0.0/8",
            "SOJOURN_AI_ALLOW_PORTS": str(urlsplit(model.openai_url).port),
            "SOJOURN_AI_OPENAI_BASE_URL": model.openai_url,
            "SOJOURN_AI_OPENAI_API_KEY": "sk-test",
        }
        await stand.start_worker(**settings)
        run_id = await started(stand, "paid-twice" if forgets else "paid-once")

        async def died() -> bool:
            return stand.worker is not None and not stand.worker.running

        await until(died, "the worker is dead")
        assert (tmp_path / "died").exists()
        assert len(model.calls) == 1
        stand.kill_worker()
        await stand.start_worker(**settings)

        async def completed() -> bool:
            async with stand.database.session() as session:
                return (await session.get_one(Run, run_id)).status is RunStatus.COMPLETED

        await until(completed, "the run has completed")
        calls = len(model.calls)
    async with stand.database.session() as session:
        paid = (await session.exec(select(AiUsage).where(col(AiUsage.run_id) == run_id))).all()
    assert [row.state for row in paid] == [CallState.SETTLED] * calls
    assert calls == (2 if forgets else 1)
    if not forgets:
        figures("F7 a kill between a model's answer and the step's end", kills=1, paid_calls=calls)


async def started(stand: Stand, name: str) -> str:
    async with stand.api() as api:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=_SOURCE.format(name=name),
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
        answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {}})
        assert answer.status_code in (201, 202), answer.text
        return answer.json()["id"]
