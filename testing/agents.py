"""The fake of an agent's turns: a case says, turn by turn, which tools the model calls."""

from typing import Any

from schemas.errors import InputError

_USAGE = {"input_tokens": 0, "output_tokens": 0, "requests": 1, "cost_usd": 0.0}


def turn_of(params: dict[str, Any], given: Any) -> Any:
    """Make a whole turn of what a case gives: `{calls: [{tool: arguments}]}`, or `{output}`.

    Raises InputError for calls of another form.
    """
    if not isinstance(given, dict):
        return given
    number = len(params["messages"])
    calls = [_call(each, f"{number}-{place}") for place, each in enumerate(given.get("calls", []))]
    output = None if calls else given.get("output")
    plain = not calls and params["question"].get("output") is None
    return {
        "said": [{"role": "assistant", "content": f"turn {number}"}],
        "calls": calls,
        "output": output,
        "text": output if plain else None,
        "model": params["question"].get("model") or "test",
        "provider": "test",
        "usage": _USAGE,
    }


def _call(given: Any, identity: str) -> dict[str, Any]:
    if not isinstance(given, dict) or len(given) != 1:
        raise InputError("a call of an agent's mock is written {tool: {argument: value}}")
    ((name, arguments),) = given.items()
    return {"id": identity, "name": str(name), "arguments": arguments}
