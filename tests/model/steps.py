"""The reference model's steps: what all have in common, and what each kind does."""

from typing import Any

from activities.conditions import variant_of
from schemas import expressions
from schemas.errors import ExpressionError, SojournError
from tests.model.asking import approval, wait
from tests.model.loops import for_each, parallel, repeat
from tests.model.reference import BEGIN, Model, Node
from tests.model.story import Error, Outcome, Raw, Scope, Told, Untestable
from tests.model.units import seconds

WORKSPACE = "default"


class Step(Node):
    """One step from its guard to its end."""

    def __init__(self, model: Model, step: Raw, scope: Scope, ended: Any) -> None:
        """Plan a step."""
        super().__init__(model, ended)
        self.step = step
        self.scope = scope
        self.path = f"{scope.prefix}{step['id']}"
        self.told: Told | None = None
        self.attempting = False
        self.override: Raw | None = None

    @property
    def record(self) -> Told:
        """What is told of this step; there is nothing before it begins."""
        assert self.told is not None, "the step has begun"
        return self.told

    def start(self) -> None:
        """Begin as soon as the run lets it."""
        self.model.gate(self, self._begin)

    def cancel(self) -> None:
        """Stop: what had begun is cancelled."""
        if self.done:
            return
        if self.attempting:
            raise Untestable("an action is cancelled while it runs")
        super().cancel()
        self.model.held.pop(self.path, None)
        if self.told is not None:
            self._finish("cancelled")

    def _finish(self, status: str) -> None:
        self.record.status = status
        self.record.finished = self.model.clock.now

    # -- guard, body, end --------------------------------------------------------------------

    def _begin(self) -> None:
        if self.model.paused and not self.model.unwinding:
            # The pause came between the decision to begin and the beginning.
            self.model.gate(self, self._begin)
            return
        kind = self.step["type"]
        self.told = Told(self.path, self.step["id"], kind, started=self.model.clock.now)
        self.model.story.steps[self.path] = self.told
        self._run()

    def _run(self) -> None:
        guard = self.step.get("if")
        if guard is not None and self.step["type"] != "condition":
            try:
                passes = self.verdict(guard, self.scope)
            except SojournError as error:
                self.fail(error)
                return
            if not passes:
                self._finish("skipped")
                self.end(Outcome("ok"))
                return
        if self.step.get("compensate") and self.path not in self.model.registered:
            self.model.registered.append(self.path)
        try:
            KINDS.get(self.step["type"], action)(self)
        except SojournError as error:
            self.fail(error)

    def verdict(self, source: str, scope: Scope) -> bool:
        """Evaluate a condition, which must give true or false; raises ExpressionError."""
        value = self.model.evaluate(source, scope)
        if not isinstance(value, bool):
            raise ExpressionError("no boolean")
        return value

    def complete(self, output: Any) -> None:
        """The body came to a good end."""
        self.record.output = output
        self.record.status = "completed"
        if self.step.get("output") is not None:
            try:
                self.record.output = self.model.render(self.step["output"], self.scope)
            except ExpressionError as error:
                self.fail(error)
                return
        self._end_well()

    def _end_well(self) -> None:
        self._finish("completed")
        self.model.completed(self.step, self.record, self.scope)
        self.end(Outcome("ok"))

    def ran(self, outcome: Outcome, output: Any) -> None:
        """A step list that is the body came to its end; `output` counts when it ended well."""
        if outcome.kind == "ok":
            self.complete(output)
        else:
            self.broke(outcome)

    def broke(self, outcome: Outcome) -> None:
        """Something inside failed or stopped the run."""
        if outcome.kind == "stop":
            self._finish("completed")
            self.end(outcome)
            return
        assert outcome.error is not None, "an error outcome has an error"
        if outcome.aborted:
            self._note(outcome.error)
            self._end_badly(outcome)
        else:
            self.fail(outcome.error)

    def fail(self, cause: Error | SojournError) -> None:
        """The body failed: the step's `on_error` decides."""
        if isinstance(cause, SojournError):
            cause = Error(str(cause.code), cause.message, self.path)
        self._note(cause)
        does = on_error(self.step, cause.code)
        if isinstance(does, list):
            self.record.status = "running"
            self.list(does, self.scope.named({"error": cause.view()}), self._recovered)
        elif does == "continue":
            self._end_badly(Outcome("ok"))
        elif does == "pause":
            self.model.held[self.path] = self._decide
        else:
            self._end_badly(Outcome("error", error=cause))

    def _note(self, cause: Error) -> None:
        for node in self.inner:
            node.cancel()
        self.record.error = cause
        self.model.doubt(self.step, self.record, self.scope)

    def _decide(self, order: Raw) -> None:
        """An operator decided about this step, which failed and is held."""
        match order["action"]:
            case "retry":
                self.record.error = None
                self.override = order.get("input")
                self._forget_inside()
                self.soon(self._run)
            case "skip":
                self.record.output = order.get("output")
                self._finish("skipped")
                self.end(Outcome("ok"))
            case _:
                self._end_badly(Outcome("error", error=self.record.error, aborted=True))

    def _forget_inside(self) -> None:
        ids = ids_in(list(self.step.values()))
        for path, told in self.model.story.steps.items():
            if told.id in ids and path.startswith(self.scope.prefix):
                told.forgotten = True

    def _recovered(self, outcome: Outcome) -> None:
        if outcome.kind == "ok":
            self.record.output = outcome.value
            self._end_well()
        elif outcome.kind == "stop":
            self._finish("completed")
            self.end(outcome)
        else:
            assert outcome.error is not None, "an error outcome has an error"
            self.record.error = outcome.error
            self.model.doubt(self.step, self.record, self.scope)
            self._end_badly(outcome)

    def _end_badly(self, outcome: Outcome) -> None:
        self._finish("failed")
        self.end(outcome)


def ids_in(value: Any) -> list[str]:
    """Give the ids of all steps somewhere in raw data."""
    if isinstance(value, list):
        return [name for item in value for name in ids_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["id"]] if "type" in value and "id" in value else []
    return own + ids_in(list(value.values()))


def on_error(step: Raw, code: str) -> Any:
    """What an error does: a word, or the steps of the fallback."""
    given = step.get("on_error", "fail")
    if isinstance(given, str) or "type" in given[0]:
        return given
    for route in given:
        if "codes" not in route or code in route["codes"]:
            return route["do"]
    return "fail"


# -- the kinds -------------------------------------------------------------------------------


def action(node: Step) -> None:
    """A probe: fails so often with a code, each attempt after the policy's wait."""
    params = node.override
    if params is None:
        params = node.model.render(node.step.get("with", {}), node.scope)
    tries: list[int] = []
    retry = node.step.get("retry") or node.model.definition["defaults"]["retry"]
    code = params.get("code", "STEP_FAILED")
    again = params.get("retryable", True) and code not in retry.get("except", [])
    again = again and (not retry.get("only") or code in retry["only"])

    # Until its end: the test server also tries a cancelled activity again.
    node.attempting = True

    def attempt() -> None:
        node.record.attempts += 1
        tries.append(1)
        node.soon(answer)

    def answer() -> None:
        number = len(tries)
        if number > params.get("failures", 0):
            node.attempting = False
            node.complete({"value": params.get("value")})
        elif not again or number >= retry["attempts"]:
            node.attempting = False
            node.fail(Error(code, "the probe fails", node.path))
        else:
            node.model.retried = True
            wait = seconds(retry["initial"]) * retry["factor"] ** (number - 1)
            node.after(min(wait, seconds(retry["max"])), attempt)

    attempt()


def condition(node: Step) -> None:
    """Then or else; output is the verdict."""
    verdict = node.verdict(node.step["if"], node.scope)
    steps = node.step.get("then" if verdict else "else", [])
    node.list(steps, node.scope, lambda outcome: node.ran(outcome, verdict))


def switch(node: Step) -> None:
    """The first case that fits."""
    step, model = node.step, node.model
    value = expressions.plain(model.evaluate(step["on"], node.scope)) if "on" in step else None
    taken = step.get("default", [])
    for case in step["cases"]:
        if "if" in case:
            fits = node.verdict(case["if"], node.scope)
        else:
            fits = expressions.evaluate(
                "a == b", {"a": value, "b": model.render(case["is"], node.scope)}
            )
        if fits:
            taken = case["do"]
            break
    node.list(taken, node.scope, lambda outcome: node.ran(outcome, outcome.value))


def split(node: Step) -> None:
    """The variant of the key."""
    key = expressions.as_text(node.model.render(node.step["key"], node.scope))
    salt = f"{WORKSPACE}/{node.model.definition['name']}/{node.step['id']}"
    weights = [[one["name"], one.get("weight", 1)] for one in node.step["variants"]]
    name = variant_of(salt, key, weights, node.step.get("holdout", 0))
    node.model.story.variants[node.path] = name
    steps = next((one["do"] for one in node.step["variants"] if one["name"] == name), [])
    node.list(
        steps,
        node.scope,
        lambda outcome: node.ran(outcome, {"variant": name, "output": outcome.value}),
    )


def delay(node: Step) -> None:
    """Sleep for so long, or until a moment."""
    if "for" in node.step:
        length = seconds(node.step["for"])
    else:
        moment = node.model.evaluate(node.step["until"], node.scope)
        length = (moment - BEGIN).total_seconds() - node.model.clock.now
    node.after(max(length, 0.0), lambda: node.complete(None))


def set_vars(node: Step) -> None:
    """All values over the old vars, then together."""
    values = node.model.render(node.step["vars"], node.scope)
    node.model.story.vars = {**node.model.story.vars, **values}
    node.complete(values)


def fail(node: Step) -> None:
    """Fail with a code."""
    message = str(node.model.render(node.step.get("message", "failed"), node.scope))
    node.fail(Error(node.step.get("code", "STEP_FAILED"), message, node.path))


def stop(node: Step) -> None:
    """The run is complete."""
    output = node.model.render(node.step.get("output"), node.scope)
    node.broke(Outcome("stop", output))


KINDS = {
    "condition": condition,
    "switch": switch,
    "split": split,
    "parallel": parallel,
    "for_each": for_each,
    "repeat": repeat,
    "delay": delay,
    "wait": wait,
    "approval": approval,
    "set": set_vars,
    "fail": fail,
    "stop": stop,
}
