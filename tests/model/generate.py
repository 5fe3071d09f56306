"""Random definitions: a seed gives always the same one, with its input."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

Raw = dict[str, Any]

CODES = ("STEP_FAILED", "HTTP_ERROR", "STEP_TIMEOUT", "RATE_LIMITED")
DEFAULT_RETRY = {"attempts": 1, "initial": "1h", "factor": 2, "max": "9h", "jitter": False}
_DEEPEST = 3
_MOST_STEPS = 22


@dataclass(frozen=True)
class _Place:
    """Where a list stands: what its expressions may name, and what may stand in it."""

    depth: int = 0
    visible: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    # In a compensation or in `on_failure`.
    unwinding: bool = False


@dataclass
class Generator:
    """Writes one definition."""

    random: Random
    ids: int = 0
    signals: list[str] = field(default_factory=list)
    selective: bool = False
    approvals: list[str] = field(default_factory=list)

    def definition(self, name: str) -> Raw:
        """Write a definition with its steps, output and what it does on failure."""
        self.selective = self._maybe(0.3)
        start = {"id": "begin", "type": "set", "vars": {"v0": self._number(), "v1": "x"}}
        place = _Place(visible=("begin",))
        steps = [start, *self._list(place, self.random.randint(2, 5), chained=True)]
        result: Raw = {"name": name, "defaults": {"retry": DEFAULT_RETRY}, "steps": steps}
        if self._maybe(0.7):
            result["output"] = {
                "v0": "{{ vars.v0 }}",
                "last": "{{ steps." + steps[-1]["id"] + ".output }}",
                "status": "{{ steps." + self.random.choice(steps)["id"] + ".status }}",
            }
        if self.selective:
            result["compensation"] = "selective"
        if self._maybe(0.12):
            result["goal"] = {"event": "goal.done", "key": "k{{ input.n }}"}
            if self._maybe(0.4):
                result["goal"]["where"] = f"event.data.number > {self._number()}"
            if self._maybe(0.8):
                place = _Place(depth=2)
                result["on_goal"] = self._list(place, self.random.randint(1, 3))
        if self._maybe(0.4):
            result["on_failure"] = self._simple(_Place(names=("error",), unwinding=True))
        return result

    # -- small things ------------------------------------------------------------------------

    def _maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def _number(self) -> int:
        return self.random.randint(0, 5)

    def _hours(self) -> str:
        return f"{self.random.randint(1, 400)}h"

    def _id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}{self.ids}"

    def _value(self, place: _Place) -> Any:
        choices: list[Any] = [
            self._number(),
            f"{{{{ input.n + {self._number()} }}}}",
            "{{ vars.v0 }}",
        ]
        if place.visible:
            step = self.random.choice(place.visible)
            choices += ["{{ steps." + step + ".output }}", "{{ steps." + step + ".status }}"]
            choices.append("n {{ input.n }} {{ steps." + step + ".status }}")
        if "index" in place.names:
            choices += ["{{ index }}", "{{ [index, input.n] }}"]
        if "item" in place.names:
            choices.append("{{ item }}")
        if "error" in place.names:
            choices.append("{{ error == null ? 'none' : error.code }}")
        return self.random.choice(choices)

    def _verdict(self, place: _Place) -> str:
        choices = [f"input.n > {self._number()}", f"vars.v0 == {self._number()}"]
        choices += [f"input.n != {self._number()}", f"input.n < {self._number()}"]
        if place.visible:
            step = self.random.choice(place.visible)
            choices += [f"steps.{step}.status == 'completed'"] * 2
            choices.append(f"steps.{step}.error == null || steps.{step}.error.code != 'HTTP_ERROR'")
        if "index" in place.names:
            choices += [f"index < {self.random.randint(1, 3)}"] * 2
        if self._maybe(0.05):
            return f"10 / (input.n - {self._number()}) > 0"
        return self.random.choice(choices)

    # -- lists -------------------------------------------------------------------------------

    def _list(self, place: _Place, count: int, *, chained: bool = False) -> list[Raw]:
        """Write a list; unless `chained`, some of its steps say themselves what they wait for."""
        steps: list[Raw] = []
        before: dict[str, list[str]] = {}
        graph = not chained and self._maybe(0.3)
        for index in range(count):
            ids = [step["id"] for step in steps]
            depends: list[str] | None = None
            if (graph and self._maybe(0.7)) or (chained and index and self._maybe(0.12)):
                fewest = 1 if chained else 0
                depends = self.random.sample(ids, self.random.randint(fewest, min(2, len(ids))))
            needs = depends if depends is not None else ids[-1:]
            known = [other for need in needs for other in (*before[need], need)]
            visible = tuple(dict.fromkeys([*place.visible, *known]))
            inner = _Place(place.depth, visible, place.names, place.unwinding)
            step = self._step(inner)
            if depends is not None:
                step["depends_on"] = depends
            before[step["id"]] = list(dict.fromkeys(known))
            steps.append(step)
            if step["type"] == "probe" and depends is None and self._maybe(0.4):
                for one in self._stretch(step, inner):
                    before[one["id"]] = [*before[steps[-1]["id"]], steps[-1]["id"]]
                    steps.append(one)
        return steps

    def _stretch(self, first: Raw, place: _Place) -> list[Raw]:
        """Write inline probes that follow a step, most of which read those before them."""
        steps = [first]
        for _ in range(self.random.randint(1, 4)):
            last = steps[-1]["id"]
            place = _Place(place.depth, (*place.visible, last), place.names, place.unwinding)
            step = self._probe(place)
            if self._maybe(0.6):
                step["with"]["value"] = "{{ [steps." + last + ".output, input.n] }}"
            steps.append(self._dressed(step, place) if self._maybe(0.4) else step)
        for step in steps:
            step["execution"] = "inline"
        return steps[1:]

    def _staggered(self, place: _Place, count: int) -> list[Raw]:
        """Write a list for a place beside others: it starts with a sleep of its own length."""
        nap: Raw = {"id": self._id("nap"), "type": "delay"}
        if "index" in place.names and self._maybe(0.7):
            first, more = self.random.randint(1, 99), self.random.randint(7, 97)
            nap["until"] = f"run.now + hours({first} + {more} * index)"
        else:
            nap["for"] = self._hours()
        if not self._maybe(0.85):
            return self._list(place, count)
        return [nap, *self._list(place, count)]

    def _simple(self, place: _Place) -> list[Raw]:
        """Write a short list for what comes after a failure or a cancel."""
        steps = []
        for _ in range(self.random.randint(1, 2)):
            kind = self._nap if self._maybe(0.15) else self._probe
            steps.append(kind(place))
        if self._maybe(0.06):
            steps.append(
                {"id": self._id("fail"), "type": "fail", "code": "NO_STOCK", "message": "no"}
            )
        return steps

    def _inner(self, place: _Place, names: tuple[str, ...] = ()) -> _Place:
        return _Place(place.depth + 1, place.visible, (*place.names, *names), place.unwinding)

    # -- steps -------------------------------------------------------------------------------

    def _step(self, place: _Place) -> Raw:
        small = [
            (self._probe, 8),
            (self._nap, 3),
            (self._wait, 1.5),
            (self._set, 1.5),
            (self._end, 0.5),
        ]
        large = [
            (self._condition, 1.5),
            (self._switch, 1),
            (self._split, 1),
            (self._parallel, 3),
            (self._for_each, 2),
            (self._repeat, 1.5),
        ]
        room = place.depth < _DEEPEST and self.ids < _MOST_STEPS
        kinds = small + large if room else small
        write = self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        step = write(place)
        if step["type"] in ("fail", "stop"):
            if self._maybe(0.6):
                step["if"] = self._verdict(place)
            return step
        return self._dressed(step, place)

    def _dressed(self, step: Raw, place: _Place) -> Raw:
        """Give a step some of what every step may have."""
        if self._maybe(0.15) and step["type"] != "condition":
            step["if"] = self._verdict(place)
        if self._maybe(0.25):
            step["on_error"] = self._on_error(place)
        elif not place.unwinding and self._maybe(0.08):
            step["on_error"] = "pause"
        if self._maybe(0.25):
            own = _Place(
                visible=(*place.visible, step["id"]), names=(*place.names, "error"), unwinding=True
            )
            step["compensate"] = self._simple(own)
        if self.selective and self._maybe(0.15):
            step["savepoint"] = True
        if self._maybe(0.08) and "output" not in step:
            step["output"] = {"was": "{{ steps." + step["id"] + ".output }}"}
        return step

    def _on_error(self, place: _Place) -> Any:
        fallback = self._inner(place, ("error",))
        if self._maybe(0.5):
            return "continue"
        if self._maybe(0.5):
            return self._list(fallback, self.random.randint(1, 2))
        codes = self.random.sample(CODES, 3)
        routes: list[Raw] = [
            {"codes": codes[:2], "do": self._list(fallback, 1)},
            {"codes": codes[2:], "do": self.random.choice(["fail", "continue"])},
        ]
        if self._maybe(0.3):
            routes.append({"do": self.random.choice(["fail", "continue"])})
        return routes

    def _probe(self, place: _Place) -> Raw:
        with_: Raw = {"value": self._value(place)}
        step: Raw = {"id": self._id("a"), "type": "probe", "with": with_}
        if self._maybe(0.32):
            with_["failures"] = self.random.choice([1, 2, 9, 9, 9])
            if "index" in place.names and self._maybe(0.5):
                with_["failures"] = f"{{{{ index == {self.random.randint(0, 2)} ? 9 : 0 }}}}"
            with_["code"] = self.random.choice(CODES)
            with_["retryable"] = self._maybe(0.7)
        if self._maybe(0.2):
            retry: Raw = {
                "attempts": self.random.randint(1, 3),
                "initial": self._hours(),
                "factor": 2,
            }
            step["retry"] = {**retry, "max": "500h", "jitter": False}
            if self._maybe(0.3):
                step["retry"][self.random.choice(["only", "except"])] = self.random.sample(CODES, 2)
        return step

    def _nap(self, _: _Place) -> Raw:
        return {"id": self._id("d"), "type": "delay", "for": self._hours()}

    def _wait(self, place: _Place) -> Raw:
        step: Raw = {"id": self._id("w"), "type": "wait", "timeout": self._hours()}
        several = self.random.choices(["any", "all", ""], [1, 1, 4])[0]
        if several:
            step[several] = [self._source() for _ in range(self.random.randint(1, 3))]
        else:
            step |= self._source()
        if self._maybe(0.7):
            steps = self._list(self._inner(place), 1) if self._maybe(0.4) else "continue"
            step["on_timeout"] = steps
        return step

    def _source(self) -> Raw:
        if self._maybe(0.4):
            source: Raw = {"event": f"e.e{self.random.randint(0, 2)}", "key": "k{{ input.n }}"}
            if self._maybe(0.3):
                source["where"] = f"event.data.number > {self._number()}"
            return source
        signal = f"s{len(self.signals)}"
        if self.signals and self._maybe(0.2):
            signal = self.random.choice(self.signals)
        self.signals.append(signal)
        return {"signal": signal}

    def _approval(self, place: _Place) -> Raw:
        step: Raw = {"id": self._id("ok"), "type": "approval", "assignees": ["ada", "bob", "cy"]}
        self.approvals.append(step["id"])
        step |= {"timeout": self._hours(), "approvals": self.random.randint(1, 2)}
        own = "steps." + step["id"] + ".output"
        # Without the answers' times.
        step["output"] = {"decision": "{{ " + own + ".decision }}", "by": "{{ " + own + ".by }}"}
        if self._maybe(0.7):
            steps = self._list(self._inner(place), 1) if self._maybe(0.4) else "continue"
            step["on_timeout"] = steps
        return step

    def _set(self, place: _Place) -> Raw:
        names = self.random.sample(["v0", "v1", "v2"], self.random.randint(1, 2))
        return {
            "id": self._id("set"),
            "type": "set",
            "vars": {name: self._value(place) for name in names},
        }

    def _end(self, place: _Place) -> Raw:
        if self._maybe(0.5):
            code = self.random.choice([*CODES, "NO_STOCK"])
            return {"id": self._id("fail"), "type": "fail", "code": code, "message": "no"}
        step: Raw = {"id": self._id("stop"), "type": "stop"}
        if self._maybe(0.6):
            step["output"] = {"stopped": self._value(place)}
        return step

    def _some(self, place: _Place, most: int = 3) -> list[Raw]:
        return self._list(place, self.random.randint(0 if self._maybe(0.1) else 1, most))

    def _condition(self, place: _Place) -> Raw:
        inner = self._inner(place)
        step: Raw = {"id": self._id("c"), "type": "condition", "if": self._verdict(place)}
        step["then"] = self._some(inner)
        if self._maybe(0.6):
            step["else"] = self._some(inner)
        return step

    def _switch(self, place: _Place) -> Raw:
        inner = self._inner(place)
        cases: list[Raw] = [
            {"is": self._number(), "do": self._some(inner, 2)}
            if self._maybe(0.5)
            else {"if": self._verdict(place), "do": self._some(inner, 2)}
            for _ in range(self.random.randint(1, 3))
        ]
        step: Raw = {"id": self._id("sw"), "type": "switch", "on": "input.n", "cases": cases}
        if self._maybe(0.5):
            step["default"] = self._some(inner, 2)
        return step

    def _split(self, place: _Place) -> Raw:
        inner = self._inner(place)
        variants = [
            {
                "name": name,
                "weight": self.random.randint(0, 3) + (name == "a"),
                "do": self._some(inner, 2),
            }
            for name in ("a", "b", "c")[: self.random.randint(1, 3)]
        ]
        key = "k{{ input.n }}" + str(self.random.randint(0, 999))
        step: Raw = {"id": self._id("split"), "type": "split", "key": key, "variants": variants}
        if self._maybe(0.3):
            step["holdout"] = 30
        return step

    def _parallel(self, place: _Place) -> Raw:
        inner = self._inner(place)
        count = self.random.randint(2, 4)
        branches = [
            {"name": f"b{number}", "do": self._staggered(inner, self.random.randint(1, 3))}
            for number in range(count)
        ]
        step: Raw = {"id": self._id("par"), "type": "parallel", "branches": branches}
        if self._maybe(0.5):
            step["join"] = "any" if self._maybe(0.5) else self.random.randint(1, count)
        if self._maybe(0.4):
            step["on_branch_error"] = "continue"
        return step

    def _for_each(self, place: _Place) -> Raw:
        inner = self._inner(place, ("item", "index"))
        items = [self.random.randint(0, 9) for _ in range(self.random.randint(0, 4))]
        step: Raw = {
            "id": self._id("each"),
            "type": "for_each",
            "items": items,
            "concurrency": self.random.randint(1, 4),
            "do": self._staggered(inner, self.random.randint(1, 2)),
        }
        if self._maybe(0.25):
            step["join"] = "any" if self._maybe(0.5) else self.random.randint(1, 3)
        elif self._maybe(0.4):
            step["tolerate"] = self.random.choice([0, 1, 2, "25%", "50%"])
        return step

    def _repeat(self, place: _Place) -> Raw:
        inner = self._inner(place, ("index",))
        step: Raw = {"id": self._id("rep"), "type": "repeat", "max": self.random.randint(1, 4)}
        verdict = (
            self._verdict(inner) if self._maybe(0.3) else f"index < {self.random.randint(0, 3)}"
        )
        if self._maybe(0.5):
            step["while"] = verdict
        else:
            step["until"] = verdict if self._maybe(0.3) else f"index >= {self.random.randint(0, 3)}"
        if self._maybe(0.4):
            step["every"] = self._hours()
        step["do"] = self._list(inner, self.random.randint(1, 3))
        return step
