"""What is kept of the words that go to models and come back: all, hashes, or nothing.

Pure: the run's record, and every view of a run, are made through it.
"""

import hashlib
import json
from enum import StrEnum
from typing import Any

AI_STEPS = frozenset({"ai", "agent"})
# What tells nothing of the conversation.
_PLAIN = frozenset(
    {
        "cache",
        "cached",
        "connection",
        "fallback",
        "max_tokens",
        "max_turns",
        "model",
        "provider",
        "repaired",
        "temperature",
        "turns",
        "usage",
    }
)


class Keep(StrEnum):
    """How much of prompts and answers is kept in the records of runs."""

    FULL = "full"
    REDACTED = "redacted"
    NONE = "none"


def kept(keep: Keep, kind: str, value: Any) -> Any:
    """Give what may be kept of the parameters or the output of a step of type `kind`.

    Redacted, a text or structure becomes its SHA-256 and its length in bytes as JSON; the model,
    its settings and what it cost stay. Only AI steps are touched. Applied twice it is the same.
    """
    if keep is Keep.FULL or kind not in AI_STEPS or value is None:
        return value
    if keep is Keep.NONE:
        return None
    if not isinstance(value, dict):
        return _mark(value)
    return {key: one if key in _PLAIN or one is None else _mark(one) for key, one in value.items()}


def _mark(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"sha256", "bytes"}:
        return value
    data = json.dumps(value, sort_keys=True, default=str).encode()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
