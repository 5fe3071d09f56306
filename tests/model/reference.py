"""The reference model: what a definition means, said once more and without Temporal.

A run is a tree of nodes over a virtual clock. A node starts, starts others, and tells the node
above how it ended; a cancel goes down the tree at once. Nothing here comes from `workflows`: the
model reads the raw definition, and shares with the product only the expression engine and the
hash that assigns variants.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from schemas import expressions
from schemas.errors import ExpressionError
from tests.model.clock import Clock, Timer
from tests.model.story import (
    Act,
    Error,
    Outcome,
    Raw,
    Scope,
    Story,
    Stuck,
    Told,
    Undoing,
    Untestable,
)

# When every modelled run begins; only differences matter.
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
IN_DOUBT = ("STEP_TIMEOUT", "TIMEOUT", "DELIVERY_UNKNOWN")
# What a wait waited for did not come: that has no effect that could be undone.
WITHOUT_EFFECT = ("wait", "approval")


Ended = Callable[[Outcome], None]


class Node:
    """Something under way; it tells its end once, and a cancelled one tells nothing."""

    def __init__(self, model: "Model", ended: Ended) -> None:
        """Begin as part of a model."""
        self.model = model
        self.done = False
        self._ended = ended
        self.inner: list[Node] = []
        self.timers: list[Timer] = []

    def end(self, outcome: Outcome) -> None:
        """Stop what is still under way inside, and tell the end."""
        if not self.done:
            self._stop()
            self._ended(outcome)

    def cancel(self) -> None:
        """Stop, and everything inside."""
        if not self.done:
            self._stop()

    def _stop(self) -> None:
        self.done = True
        for timer in self.timers:
            timer.cancelled = True
        for node in self.inner:
            node.cancel()

    def soon(self, call: Callable[[], None]) -> None:
        """Call after a moment, unless cancelled."""
        self.timers.append(self.model.clock.soon(call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after some time, unless cancelled."""
        self.timers.append(self.model.clock.at(self.model.clock.now + seconds, call))

    def list(self, steps: list[Raw], scope: Scope, ended: Ended) -> None:
        """Run a step list inside this node."""
        node = StepList(self.model, steps, scope, ended)
        self.inner.append(node)
        node.start()


class StepList(Node):
    """A list of steps as a graph: each starts when those it depends on have ended."""

    def __init__(self, model: "Model", steps: list[Raw], scope: Scope, ended: Ended) -> None:
        """Plan the list."""
        super().__init__(model, ended)
        self.steps = steps
        self.scope = scope
        self.begun: list[str] = []
        self.over: list[str] = []

    def start(self) -> None:
        """Start what waits for nothing."""
        self._go_on()

    def _needs(self, index: int) -> list[str]:
        step = self.steps[index]
        if "depends_on" in step:
            return step["depends_on"]
        return [self.steps[index - 1]["id"]] if index else []

    def _go_on(self) -> None:
        if len(self.over) == len(self.steps):
            self.end(Outcome("ok", self._last_output()))
            return
        for index, step in enumerate(self.steps):
            if step["id"] in self.begun or not set(self._needs(index)) <= set(self.over):
                continue
            self.begun.append(step["id"])
            self._start(step)

    def _start(self, step: Raw) -> None:
        from tests.model.steps import Step

        def ended(outcome: Outcome) -> None:
            if outcome.kind != "ok":
                self.end(outcome)
                return
            self.over.append(step["id"])
            self._go_on()

        node = Step(self.model, step, self.scope, ended)
        self.inner.append(node)
        node.start()

    def _last_output(self) -> Any:
        """The output of the last step that completed, or that an operator skipped with one."""
        for step in reversed(self.steps):
            told = self.model.story.steps[f"{self.scope.prefix}{step['id']}"]
            if told.status == "completed" or told.output is not None:
                return told.output
        return None


class Model:
    """One run of one definition."""

    def __init__(self, definition: Raw, given: Raw, acts: list[Act], seed: int) -> None:
        """Prepare a run; `seed` decides what the language leaves open."""
        self.random = Random(seed)
        self.clock = Clock(self.random)
        self.definition = definition
        self.given = given
        self.acts = acts
        self.story = Story()
        self.paused = False
        self.unwinding = False
        self.retried = False
        self.reached = False
        self.gated: list[tuple[Node, Callable[[], None]]] = []
        self.mailbox: dict[str, list[Any]] = {}
        self.events: list[Raw] = []
        self.waiting: list[tuple[Node, Callable[[], None]]] = []
        # What operators and people may tell: by the path of the step that asks.
        self.held: dict[str, Callable[[Raw], None]] = {}
        self.asking: dict[str, Callable[[Raw], None]] = {}
        self.undoings: list[Undoing] = []
        self.registered: list[str] = []

    def run(self) -> Story:
        """Run to the end and tell the story."""
        self.top = StepList(self, self.definition["steps"], Scope(), self._ended)
        last, at = -1.0, 0.0
        for act in self.acts:
            # What comes at one time comes in this order, and what the first does may begin before
            # the second is heard.
            at = at + self.clock.moment() if act.at == last else act.at
            last = act.at
            self.clock.at(at, lambda act=act: self._act(act))
        self.clock.soon(self.top.start)
        self.clock.run()
        if self.story.status == "running":
            if self.held:
                raise Stuck(sorted(self.held), self.clock.now)
            raise Untestable("the run never ends")
        return self.story

    # -- from outside ------------------------------------------------------------------------

    def _act(self, act: Act) -> None:
        if self.unwinding or self.story.status != "running":
            return
        match act.kind:
            case "cancel":
                self.top.cancel()
                self._unwind("cancelled", None)
            case "pause":
                self.paused = True
            case "resume":
                self._resume()
            case "signal":
                self.mailbox.setdefault(act.name, []).append(act.data)
                self._look()
            case "event":
                self._event(act)
            case kind:
                self._order(kind, act)

    def _resume(self) -> None:
        self.paused = False
        gated, self.gated = self.gated, []
        for node, call in gated:
            if not node.done:
                node.soon(call)

    def _order(self, kind: str, act: Act) -> None:
        """An operator decides about a held step, or somebody answers an approval."""
        if kind == "decide" and act.name in self.held:
            self.held.pop(act.name)(act.data)
        elif kind == "respond" and act.name in self.asking:
            self.asking[act.name](act.data)

    def _look(self) -> None:
        # Which of several waits for one thing takes it is nobody's promise.
        for node, look in self.random.sample(self.waiting, len(self.waiting)):
            if not node.done:
                look()

    def _event(self, act: Act) -> None:
        event = {"type": act.name, **act.data}
        goal = self.definition.get("goal")
        if goal and not self.reached and self.fits(goal, event, Scope()):
            self.reached = True
            self.top.cancel()
            scope = Scope().named({"event": event})
            self.top = StepList(self, self.definition.get("on_goal", []), scope, self._ended)
            self.clock.soon(self.top.start)
        else:
            self.events.append(event)
            self._look()

    def fits(self, source: Raw, event: Raw, scope: Scope) -> bool:
        """Whether an event is one that a wait or a goal asks for; raises ExpressionError."""
        key = expressions.as_text(self.render(source["key"], scope))
        if (event["type"], event["key"]) != (source["event"], key):
            return False
        return "where" not in source or self.evaluate(
            source["where"], scope.named({"event": event})
        )

    def gate(self, node: Node, call: Callable[[], None]) -> None:
        """Let a step begin: a paused run starts nothing."""
        if self.paused and not self.unwinding:
            self.gated.append((node, call))
        else:
            node.soon(call)

    # -- the end -----------------------------------------------------------------------------

    def _ended(self, outcome: Outcome) -> None:
        output = self.definition.get("output")
        if outcome.kind == "error":
            self._unwind("failed", outcome.error)
        elif outcome.kind == "stop" and (outcome.value is not None or output is None):
            self._close("completed", outcome.value)
        else:
            try:
                self._close("completed", self.render(output, Scope()))
            except ExpressionError as error:
                self._unwind("failed", Error(error.code, error.message, ""))

    def _close(self, status: str, output: Any = None, error: Error | None = None) -> None:
        self.story.status, self.story.output, self.story.error = status, output, error
        self.story.ended = self.clock.now

    def _unwind(self, status: str, error: Error | None) -> None:
        """Compensate in reverse order, then run `on_failure`; then it is over."""
        self.unwinding = True
        names = {"error": error.view() if error else None}
        due = list(self.undoings)
        for one in due:
            # What ran again without effect is undone as what it was with it.
            latest = self.story.steps[one.path]
            if latest.forgotten:
                self.story.steps[one.path] = one.told
                one.told.forgotten = False
            elif latest.output is None:
                latest.output = one.told.output

        def next_one() -> None:
            if due:
                self._undo(due.pop(), names, next_one)
            elif error is not None and self.definition.get("on_failure"):
                steps = self.definition["on_failure"]
                node = StepList(
                    self,
                    steps,
                    Scope().named(names),
                    lambda _: self._close(status, None, error),
                )
                node.start()
            else:
                self._close(status, None, error)

        next_one()

    def _undo(self, one: Undoing, names: Raw, then: Callable[[], None]) -> None:
        self.story.undone.append(one.path)

        def ended(outcome: Outcome) -> None:
            if outcome.kind != "error":
                self.story.steps[one.path].status = "compensated"
            then()

        StepList(self, one.step["compensate"], one.scope.named(names), ended).start()

    def doubt(self, step: Raw, told: Told, scope: Scope) -> None:
        """Count a failure after which nobody knows whether the step took effect."""
        assert told.error is not None, "a failure has an error"
        source = self.story.steps.get(told.error.step)
        if told.error.code in IN_DOUBT and (source is None or source.kind not in WITHOUT_EFFECT):
            self._effect(step, told, scope)

    def completed(self, step: Raw, told: Told, scope: Scope) -> None:
        """Count a completion; a savepoint makes all before it final."""
        self._effect(step, told, scope)
        if self.definition.get("compensation") == "selective" and step.get("savepoint"):
            self.undoings.clear()

    def _effect(self, step: Raw, told: Told, scope: Scope) -> None:
        if told.path in self.registered:
            self.undoings = [one for one in self.undoings if one.path != told.path]
            self.undoings.append(Undoing(step, told.path, scope, told))

    # -- expressions -------------------------------------------------------------------------

    def render(self, value: Any, scope: Scope) -> Any:
        """Render templates over the scope; raises ExpressionError."""
        return expressions.render(value, self._variables(value, scope))

    def evaluate(self, source: str, scope: Scope) -> Any:
        """Evaluate an expression; raises ExpressionError."""
        return expressions.evaluate(source, self._variables("{{" + source + "}}", scope))

    def _variables(self, value: Any, scope: Scope) -> Raw:
        steps: Raw = {}
        for chain in expressions.references(value):
            if chain[0] == "steps" and len(chain) > 1:
                steps[chain[1]] = self._view(chain[1], scope)
        found = {"input": self.given, "vars": self.story.vars, "steps": steps, "run": self._run()}
        return {**found, **scope.names}

    def _run(self) -> Raw:
        now = BEGIN + timedelta(seconds=self.clock.now)
        return {"id": "run", "started_at": BEGIN, "now": now}

    def _view(self, step_id: str, scope: Scope) -> Raw:
        for prefix in reversed(scope.prefixes):
            told = self.story.steps.get(f"{prefix}{step_id}")
            if told is not None and not told.forgotten:
                error = told.error.view() if told.error else None
                return {"output": told.output, "status": told.status, "error": error}
        return {"output": None, "status": "pending", "error": None}
