"""The reference model's containers of several lists: parallel, for_each and repeat."""

from typing import TYPE_CHECKING, Any

from schemas.errors import ExpressionError, SojournError
from tests.model.story import Error, Outcome
from tests.model.units import seconds

if TYPE_CHECKING:
    from tests.model.steps import Step


def parallel(node: "Step") -> None:
    """All branches at once, until enough have succeeded or too few can."""
    step = node.step
    branches: list[Any] = step["branches"]
    outputs: dict[str, Any] = {one["name"]: None for one in branches}
    join = step.get("join", "all")
    needed = _needed(join, len(branches))
    ends: list[str] = []

    def ended(name: str, outcome: Outcome) -> None:
        fails = outcome.aborted or step.get("on_branch_error", "fail") == "fail"
        if outcome.kind == "stop" or (outcome.kind == "error" and fails):
            node.broke(outcome)
            return
        ends.append(outcome.kind)
        if outcome.kind == "ok":
            outputs[name] = outcome.value
        good, bad = ends.count("ok"), ends.count("error")
        # With `all` and `continue` every branch comes to its end, well or not.
        if good == needed or (join == "all" and good + bad == len(branches)):
            stop_others(node)
            node.complete(outputs)
        elif join != "all" and len(branches) - bad < needed:
            stop_others(node)
            node.fail(Error("STEP_FAILED", "too few branches succeeded", node.path))

    for one in branches:
        node.list(one["do"], node.scope, lambda outcome, one=one: ended(one["name"], outcome))


def stop_others(node: "Step") -> None:
    """Cancel what is still under way inside a step."""
    for inner in node.inner:
        inner.cancel()


def for_each(node: "Step") -> None:
    """The body once for each item, so many at once, in the items' order."""
    step = node.step
    items = _items(node)
    needed, bearable = _needed(step.get("join", "all"), len(items)), _bearable(step, len(items))
    if needed > len(items):
        node.fail(Error("STEP_FAILED", "too few items", node.path))
        return
    outcomes: dict[int, Outcome] = {}
    queue = list(range(len(items)))

    def ended(index: int, outcome: Outcome) -> None:
        if outcome.kind == "stop" or outcome.aborted:
            node.broke(outcome)
            return
        outcomes[index] = outcome
        kinds = [one.kind for one in outcomes.values()]
        if outcome.kind == "error" and (bearable is None or kinds.count("error") > bearable):
            node.broke(outcome)
        elif kinds.count("ok") == needed or len(kinds) == len(items):
            stop_others(node)
            ends = [outcomes.get(index, Outcome("ok")) for index in range(len(items))]
            node.complete(ends_of(ends) if "tolerate" in step else [end.value for end in ends])
        else:
            start()

    def start() -> None:
        if queue:
            index = queue.pop(0)
            names = {"item": items[index], step.get("as", "item"): items[index], "index": index}
            scope = node.scope.iteration(step["id"], index, names)
            node.list(step["do"], scope, lambda outcome: ended(index, outcome))

    if not items:
        node.complete([])
    for _ in range(min(step.get("concurrency", 10), len(items))):
        start()


def _items(node: "Step") -> list[Any]:
    items = node.model.render(node.step["items"], node.scope)
    if not isinstance(items, list):
        raise ExpressionError("no list")
    return items


def _needed(join: Any, count: int) -> int:
    """How many must succeed."""
    return {"all": count, "any": 1}[join] if isinstance(join, str) else join


def _bearable(step: dict[str, Any], count: int) -> int | None:
    """How many items may fail; None where the first failure is the step's."""
    tolerate, join = step.get("tolerate"), step.get("join", "all")
    if isinstance(tolerate, str):
        return count * int(tolerate[:-1]) // 100
    if tolerate is None and join != "all":
        return count - _needed(join, count)
    return tolerate


def ends_of(ends: list[Outcome]) -> list[Any]:
    """The output of a loop that bears failures: how each item ended."""
    return [
        {
            "index": index,
            "status": "failed" if end.error else "completed",
            "output": end.value,
            "error": end.error.view() if end.error else None,
        }
        for index, end in enumerate(ends)
    ]


def repeat(node: "Step") -> None:
    """The body again and again."""
    step, model = node.step, node.model

    def judge(index: int, last: Any) -> None:
        """Before an iteration: `while`, and the limit."""
        try:
            before = node.scope.iteration(step["id"], max(index - 1, 0), {"index": index})
            if "while" in step and not node.verdict(step["while"], before):
                node.complete(last)
                return
        except SojournError as error:
            node.fail(error)
            return
        if index == step["max"]:
            node.fail(Error("LIMIT_EXCEEDED", "the loop did not end", node.path))
            return
        begun = model.clock.now
        scope = node.scope.iteration(step["id"], index, {"index": index})
        node.list(step["do"], scope, lambda outcome: ended(index, begun, outcome))

    def ended(index: int, begun: float, outcome: Outcome) -> None:
        """After an iteration: `until`, and the time to the next."""
        if outcome.kind != "ok":
            node.broke(outcome)
            return
        scope = node.scope.iteration(step["id"], index, {"index": index})
        try:
            if "until" in step and node.verdict(step["until"], scope):
                node.complete(outcome.value)
                return
        except SojournError as error:
            node.fail(error)
            return
        due = begun + seconds(step["every"]) if "every" in step else 0.0
        if index + 1 < step["max"] and due > model.clock.now:
            node.after(due - model.clock.now, lambda: judge(index + 1, outcome.value))
        else:
            node.soon(lambda: judge(index + 1, outcome.value))

    judge(0, None)
