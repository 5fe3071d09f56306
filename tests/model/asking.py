"""The reference model's steps that ask: wait for signals and events, approval by people."""

from typing import TYPE_CHECKING, Any

from schemas.errors import SojournError
from tests.model.story import Error, Raw
from tests.model.units import seconds

if TYPE_CHECKING:
    from tests.model.steps import Step


def wait(node: "Step") -> None:
    """The oldest of each source that nobody has taken, of any or of all, or the timeout."""
    asked = _Asked(node)
    node.model.waiting.append((node, asked.look))
    asked.look()
    if not asked.over and "timeout" in node.step:
        node.after(seconds(node.step["timeout"]), asked.timeout)


class _Asked:
    """What one wait has got so far; `over` once it needs nothing more."""

    def __init__(self, node: "Step") -> None:
        self.node = node
        self.over = False
        step = node.step
        self.sources: list[Raw] = step.get("any") or step.get("all") or [step]
        self.needed = len(self.sources) if "all" in step else 1
        self.got: dict[int, Any] = {}

    def look(self) -> None:
        """Take what has come; taken at once, the step goes on a moment later."""
        if self.over:
            return
        try:
            self._take()
        except SojournError as error:
            self.over = True
            self.node.fail(error)
            return
        if len(self.got) == self.needed:
            self.over = True
            for timer in self.node.timers:
                timer.cancelled = True
            self.node.soon(lambda: self.node.complete(self._output()))

    def timeout(self) -> None:
        """Nothing more is taken."""
        self.over = True
        late(self.node, None)

    def _take(self) -> None:
        for index, source in enumerate(self.sources):
            if index not in self.got and (found := _take(self.node, source)):
                self.got[index] = found[0]
                if len(self.got) == self.needed:
                    return

    def _output(self) -> Any:
        if "all" in self.node.step:
            return [self.got[index] for index in range(len(self.sources))]
        index, data = next(iter(self.got.items()))
        if "any" not in self.node.step:
            return data
        name = self.sources[index].get("signal") or self.sources[index]["event"]
        return {"index": index, "source": name, "data": data}


def _take(node: "Step", source: Raw) -> list[Any]:
    """Take what has come for one source: a list of one, or of none."""
    model = node.model
    if "signal" in source:
        box = model.mailbox.get(source["signal"], [])
        return [box.pop(0)] if box else []
    for event in model.events:
        if model.fits(source, event, node.scope):
            model.events.remove(event)
            return [event["data"]]
    return []


def late(node: "Step", output: Any) -> None:
    """Nothing came in time: `on_timeout` decides; `output` is the step's when it goes on."""
    does = node.step.get("on_timeout", "fail")
    if does == "continue":
        node.complete(output)
    elif does == "fail":
        node.fail(Error("STEP_TIMEOUT", "nothing came", node.path))
    else:
        node.list(
            does,
            node.scope,
            lambda outcome: node.ran(outcome, outcome.value if output is None else output),
        )


def approval(node: "Step") -> None:
    """So many of the assignees must approve; one who rejects decides."""
    step, model = node.step, node.model
    answers: list[Raw] = []

    def respond(answer: Raw) -> None:
        known = [one["by"] for one in answers]
        if answer["by"] not in step["assignees"] or answer["by"] in known:
            return
        answers.append(answer)
        approved = sum(one["decision"] == "approved" for one in answers)
        if answer["decision"] == "rejected" or approved == step.get("approvals", 1):
            close()
            for timer in node.timers:
                timer.cancelled = True
            result = {"decision": answer["decision"], "data": answer["data"], "by": answer["by"]}
            node.soon(lambda: node.complete(result))

    def close() -> None:
        model.asking.pop(node.path, None)

    def timeout() -> None:
        close()
        late(node, {"decision": "timed_out", "data": {}, "by": None})

    model.asking[node.path] = respond
    if "timeout" in step:
        node.after(seconds(step["timeout"]), timeout)
