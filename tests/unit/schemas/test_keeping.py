"""What is kept of the words of AI steps."""

import json
from hashlib import sha256

import pytest

from schemas.keeping import Keep, kept

INPUT = {"model": "openai:small", "prompt": "Ada owes 900 EUR", "temperature": 0.2, "system": None}
OUTPUT = {
    "output": {"score": 7},
    "text": None,
    "model": "small",
    "usage": {"input_tokens": 3},
    "cached": False,
}


def test_in_full_nothing_changes() -> None:
    assert kept(Keep.FULL, "ai", INPUT) is INPUT


def test_redacted_the_words_become_hash_and_length() -> None:
    found = kept(Keep.REDACTED, "ai", INPUT)
    words = json.dumps(INPUT["prompt"]).encode()
    assert found == {**INPUT, "prompt": {"sha256": sha256(words).hexdigest(), "bytes": len(words)}}
    told = kept(Keep.REDACTED, "ai", OUTPUT)
    assert told["usage"] == OUTPUT["usage"]
    assert told["text"] is None
    assert set(told["output"]) == {"sha256", "bytes"}
    assert kept(Keep.REDACTED, "ai", told) == told


@pytest.mark.parametrize("value", ["hot", 7, ["a", "b"]])
def test_an_output_that_a_step_made_of_it_is_redacted_whole(value: object) -> None:
    assert set(kept(Keep.REDACTED, "agent", value)) == {"sha256", "bytes"}


def test_none_keeps_nothing() -> None:
    assert kept(Keep.NONE, "ai", INPUT) is None
    assert kept(Keep.NONE, "agent", OUTPUT) is None


@pytest.mark.parametrize("keep", list(Keep))
def test_other_steps_are_not_touched(keep: Keep) -> None:
    assert kept(keep, "http", INPUT) is INPUT
