"""Recorded histories: written once for a scenario, replayed for ever."""

import json
import re
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory

FOLDER = Path(__file__).resolve().parents[1] / "replay" / "histories"
# The interpreter that wrote them; a release with other commands gets a folder of its own.
ENGINE = "engine-1"
_PRIVATE = {"identity": "worker", "stackTrace": ""}
# A sticky task queue is named after the process and the host that asked for it.
_STICKY = re.compile(r"\d+@.+-[0-9a-f]{32}")


def scrub(value: Any) -> Any:
    """Take the names of the recording machine and its paths out of a history."""
    if isinstance(value, dict):
        return {key: _PRIVATE.get(key, scrub(item)) for key, item in value.items()}
    if isinstance(value, list):
        return [scrub(item) for item in value]
    return "sticky" if isinstance(value, str) and _STICKY.fullmatch(value) else value


async def keep(client: Client, workflow_id: str, first_run_id: str, name: str) -> list[Path]:
    """Write the histories of all generations of a run, unless they are there already."""
    kept: list[Path] = []
    run_id: str | None = first_run_id
    generation = 0
    while run_id:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        history = await handle.fetch_history()
        path = FOLDER / ENGINE / f"{name}.{generation}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(scrub(history.to_json_dict()), separators=(",", ":"))
            path.write_text(text + "\n")
            kept.append(path)
        last = history.events[-1]
        attributes = last.workflow_execution_continued_as_new_event_attributes
        run_id = attributes.new_execution_run_id or None
        generation += 1
    return kept


def recorded() -> list[Path]:
    """Every recorded history."""
    return sorted(FOLDER.glob("*/*.json"))


def read(path: Path) -> WorkflowHistory:
    """Read a recorded history; its workflow id is the file's name."""
    return WorkflowHistory.from_json(path.stem, path.read_text())
