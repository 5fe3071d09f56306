"""Recorded histories of the product's own workflows: gates, pruning."""

import json
import os
from pathlib import Path

from temporalio.client import Client

from tests.kit.histories import scrub

OWN = Path(__file__).resolve().parents[1] / "replay" / "own"


async def keep_own(client: Client, workflow_id: str, name: str) -> None:
    """With RECORD_HISTORIES=1 write the history of a workflow, unless one is there already."""
    path = OWN / f"{name}.json"
    if os.environ.get("RECORD_HISTORIES") != "1" or path.exists():
        return
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(scrub(history.to_json_dict()), separators=(",", ":"))
    path.write_text(text + "\n")


def own_histories() -> list[Path]:
    """Every recorded history of the product's own workflows."""
    return sorted(OWN.glob("*.json"))
