"""The limits of the language: each is refused with its number, and not before it is passed."""

from typing import Any

import pytest

from schemas.errors import ErrorCode, LimitError
from schemas.validation import check_size, find_problems
from tests.unit.schemas.catalogue import Actions

Data = dict[str, Any]


def of(*steps: Data, **more: Any) -> Data:
    return {"name": "a", "steps": list(steps), **more}


def many(count: int, prefix: str = "s") -> list[Data]:
    return [{"id": f"{prefix}{n}", "type": "delay", "for": "1s"} for n in range(count)]


def nested(depth: int, field: str = "then") -> list[Data]:
    steps = many(1, "deep")
    for level in range(depth - 1):
        outer: Data = {"id": f"c{level}", "type": "condition", "if": "input.x > 1"}
        outer[field] = steps
        steps = [outer]
    return steps


def parallel(count: int) -> Data:
    branches = [{"name": f"b{n}", "do": many(1, f"x{n}_")} for n in range(count)]
    return {"id": "p", "type": "parallel", "branches": branches}


def loop(**more: Any) -> Data:
    return {"id": "l", "type": "for_each", "items": [1], "do": many(1), **more}


def again(rounds: int) -> Data:
    return {"id": "r", "type": "repeat", "until": "index > 1", "max": rounds, "do": many(1)}


def long(size: int) -> Data:
    return {"id": "c", "type": "condition", "if": "true ||" + " " * (size - 11) + "true"}


LIMITS = {
    "limit-size": (
        of(*many(1), description="x" * 3900, title="t"),
        of(*many(1), description="x" * 524_288),
        "524288",
    ),
    "limit-steps": (of(*many(500)), of(*many(501)), "500"),
    "limit-steps in all lists": (
        of(*many(250), on_failure=many(250, "f")),
        of(*many(250), on_failure=many(251, "f")),
        "500",
    ),
    "limit-depth": (of(*nested(16)), of(*nested(17)), "16"),
    "limit-depth of recovery": (of(*nested(16)), of(*nested(17, "compensate")), "16"),
    "limit-expression": (of(long(4096)), of(long(4097)), "4096"),
    "limit-branches": (of(parallel(50)), of(parallel(51)), "50"),
    "limit-branches at once": (of(loop(concurrency=50)), of(loop(concurrency=51)), "50"),
    "limit-items": (of(loop(items=[1] * 10_000)), of(loop(items=[1] * 10_001)), "10000"),
    "limit-iterations": (of(again(10_000)), of(again(10_001)), "10000"),
    "limit-entries": (
        of({"id": "s", "type": "split", "variants": [
            {"name": f"v{n}", "do": []} for n in range(20)]}),
        of({"id": "s", "type": "split", "variants": [
            {"name": f"v{n}", "do": []} for n in range(21)]}),
        "20",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "limit"), LIMITS.items(), ids=LIMITS)
def test_each_limit_is_refused_with_its_number(name: str, limit: tuple[Data, Data, str]) -> None:
    within, beyond, number = limit
    rule = name.partition(" ")[0]
    assert [one for one in find_problems(within, Actions()) if one.rule == rule] == []
    found = [one for one in find_problems(beyond, Actions()) if one.rule == rule]
    assert len(found) == 1
    assert found[0].code == ErrorCode.LIMIT_EXCEEDED
    assert number in found[0].message


def test_every_list_counts_for_the_depth() -> None:
    for step in (
        {"id": "a", "type": "delay", "for": "1s", "on_error": nested(16)},
        {"id": "a", "type": "delay", "for": "1s", "on_error": [{"do": nested(16)}]},
        {"id": "a", "type": "split", "variants": [{"name": "v", "do": nested(16)}]},
        {"id": "a", "type": "wait", "signal": "s", "timeout": "1d", "on_timeout": nested(16)},
        {"id": "a", "type": "approval", "assignees": ["x"], "timeout": "1d",
         "remind": {"every": "1h", "do": nested(16)}},
        {"id": "a", "type": "approval", "assignees": ["x"], "timeout": "1d",
         "escalate": {"after": "1h", "do": nested(16)}},
    ):  # fmt: skip
        assert "limit-depth" in {one.rule for one in find_problems(of(step), None)}, step
    assert find_problems(of(*many(1), on_failure=nested(17)), None)[0].path == "on_failure"


def test_sizes_of_values_are_refused_with_their_number() -> None:
    check_size("x" * 98, 100, "the input")
    with pytest.raises(LimitError, match="the input has 101 bytes; the limit is 100"):
        check_size("x" * 99, 100, "the input")


def test_documents_that_cannot_be_read_have_a_rule() -> None:
    for text in ("", "a: [", "a: &x 1", "[]"):
        assert {one.rule for one in find_problems(text, None)} == {"bad-document"}, text
