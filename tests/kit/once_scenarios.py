"""Steps with `delivery: at_most_once` whose effect is in doubt, and what is decided about it."""

from dataclasses import dataclass

from tests.kit.scenarios import Scenario


@dataclass(frozen=True)
class OnceScenario(Scenario):
    """A scenario with an order that the shop does not answer `lost` times.

    Of the `decisions` about the held step `sent` and `unsent` are about its effect; `again` is a
    try by somebody who has decided nothing. `orders` is how many of them the shop gets.
    """

    decisions: tuple[str, ...] = ()
    lost: int = 1
    orders: int = 1


def _order(more: str = "") -> str:
    return (
        "{id: order, type: http, delivery: at_most_once, retry: {attempts: 3, initial: 50ms}, "
        f"{more}with: {{method: POST, url: '{{{{ input.url }}}}/orders', json: {{}}}}}}"
    )


ONCE = [
    OnceScenario(
        "once-marked",
        _order(),
        run_output="[default(steps.order.output.delivery, null), steps.order.output.status]",
        output=["marked_sent", 201],
        decisions=("sent",),
        steps_end={"order": "completed"},
    ),
    OnceScenario(
        "once-resent",
        _order(),
        run_output="steps.order.output.status",
        output=201,
        decisions=("unsent",),
        orders=2,
    ),
    OnceScenario(
        "once-parked-again",
        _order(),
        run_output="default(steps.order.output.delivery, null)",
        output="marked_sent",
        decisions=("again", "unsent", "sent"),
        lost=2,
        orders=2,
    ),
    OnceScenario(
        "once-skipped",
        _order(),
        run_output="steps.order.status",
        output="skipped",
        decisions=("skip",),
    ),
    OnceScenario(
        "once-aborted",
        _order("compensate: [{id: undo, type: set, vars: {undone: true}}], "),
        "failed",
        code="DELIVERY_UNKNOWN",
        decisions=("abort",),
        steps_end={"order": "compensated", "undo": "completed"},
    ),
    OnceScenario(
        "once-own-way",
        _order("on_error: [{codes: [DELIVERY_UNKNOWN], do: continue}], "),
        run_output="steps.order.error.code",
        output="DELIVERY_UNKNOWN",
        steps_end={"order": "failed"},
    ),
    OnceScenario(
        "once-answered",
        _order(),
        run_output="steps.order.output.status",
        output=201,
        lost=0,
    ),
    OnceScenario(
        "once-beside",
        "{id: both, type: parallel, branches: ["
        f"{{name: a, do: [{_order()}]}}, "
        "{name: b, do: [{id: other, type: set, vars: {done: true}}]}]}",
        run_output="[default(steps.order.output.delivery, null), vars.done]",
        output=["marked_sent", True],
        decisions=("sent",),
    ),
]
