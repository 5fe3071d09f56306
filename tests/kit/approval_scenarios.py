"""Approvals and the windows of delays, with every way to end."""

from tests.kit.acts import answers, both, stands, step_is
from tests.kit.scenarios import BOOM, SLEEP, Scenario, cancel


def many(count: int) -> str:
    """Give so many probes."""
    return ", ".join(f"{{id: p{n}, type: probe, with: {{value: {n}}}}}" for n in range(count))


def _probe(name: str, value: str = "1", more: str = "") -> str:
    return f"{{id: {name}, type: probe, with: {{value: {value}}}{more}}}"


ASK = "{{id: ask, type: approval, assignees: [ada, bob, cy]{0}}}"
_MAIL = _probe("mail", "'{{ [index, approval.waiting_for] }}'")
_NOTE = _probe("note", "'{{ approval.assignees }}'")

APPROVALS = [
    Scenario(
        "approval-approve",
        ASK.format(""),
        act=answers(("bob", "approved")),
        run_output="[steps.ask.output.decision, steps.ask.output.by, steps.ask.output.data.note]",
        output=["approved", "bob", "bob"],
    ),
    Scenario(
        "approval-reject",
        ASK.format(", approvals: 2"),
        act=answers(("bob", "approved"), ("cy", "rejected")),
        run_output="[steps.ask.output.decision, steps.ask.output.by, string(size(steps.ask.output.answers))]",
        output=["rejected", "cy", "2"],
    ),
    Scenario(
        "approval-quorum",
        ASK.format(", approvals: 2"),
        act=answers(("bob", "approved"), ("ada", "approved")),
        run_output="steps.ask.output.answers.map(a, a.by)",
        output=["bob", "ada"],
    ),
    Scenario(
        "approval-timeout-fail",
        ASK.format(", timeout: 2d"),
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"ask": "failed"},
    ),
    Scenario(
        "approval-timeout-continue",
        ASK.format(", timeout: 2d, on_timeout: continue"),
        run_output="[steps.ask.output.decision, string(steps.ask.output.by == null)]",
        output=["timed_out", "true"],
    ),
    Scenario(
        "approval-timeout-list",
        ASK.format(f", timeout: 2d, on_timeout: [{_probe('late')}, {SLEEP}]"),
        run_output="steps.ask.output.decision",
        output="timed_out",
        steps_end={"late": "completed", "sleep": "completed"},
    ),
    Scenario(
        "approval-remind",
        ASK.format(
            f", timeout: 5d, on_timeout: continue, remind: {{every: 1d, max: 3, do: [{_MAIL}]}}"
        ),
        run_output="steps.ask.output.decision",
        output="timed_out",
        steps_end={"ask[2].mail": "completed"},
    ),
    Scenario(
        "approval-remind-failure",
        ASK.format(
            f", timeout: 60h, on_timeout: continue, remind: {{every: 1d, do: [{BOOM}, {_MAIL}]}}"
        ),
        steps_end={"ask[1].boom": "failed", "ask": "completed"},
    ),
    Scenario(
        "approval-escalate",
        ASK.format(
            f", timeout: 5d, on_timeout: continue, escalate: {{after: 2d, to: [dan], do: [{_NOTE}]}}"
        ),
        steps_end={"note": "completed", "ask": "completed"},
    ),
    Scenario(
        "approval-escalate-answer",
        # Reminded on the way, and answered by somebody who was added.
        ASK.format(
            f", remind: {{every: 400ms, do: [{_MAIL}]}}, escalate: {{after: 600ms, to: dan, do: [{_NOTE}]}}"
        ),
        act=both(
            stands(step_is("note", "completed")),
            answers(("dan", "approved")),
        ),
        run_output="steps.ask.output.by",
        output="dan",
        real_time=True,
    ),
    Scenario(
        "approval-nobody",
        "{id: ask, type: approval, assignees: '{{ input.many.filter(x, x < 0) }}'}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "approval-cancel",
        ASK.format(f", timeout: 9d, remind: {{every: 1d, do: [{_MAIL}]}}"),
        "cancelled",
        act=cancel,
        steps_end={"ask": "cancelled"},
    ),
    Scenario(
        "approval-cancel-reminder",
        ASK.format(", remind: {every: 100ms, do: [{id: mail, type: probe, with: {hold: true}}]}"),
        "cancelled",
        act=both(
            stands(step_is("ask[0].mail", "running")),
            cancel,
        ),
        steps_end={"ask": "cancelled", "ask[0].mail": "cancelled"},
        real_time=True,
    ),
    Scenario(
        "approval-answer-over-reminder",
        # The reminder under way is cut off by the decision.
        ASK.format(", remind: {every: 100ms, do: [{id: mail, type: probe, with: {hold: true}}]}"),
        act=both(
            stands(step_is("ask[0].mail", "running")),
            answers(("ada", "approved")),
        ),
        steps_end={"ask": "completed", "ask[0].mail": "cancelled"},
        real_time=True,
    ),
    Scenario(
        "approval-can",
        "{id: pair, type: parallel, branches: [{name: a, do: ["
        + ASK.format(f", approvals: 2, timeout: 9d, remind: {{every: 1d, max: 2, do: [{_MAIL}]}}")
        + f"]}}, {{name: b, do: [{many(10)}]}}]}}",
        act=answers(("bob", "approved"), ("ada", "approved")),
        history_limit=30,
        # The time-skipping server may lose a task where a query meets a continue-as-new.
        real_time=True,
        run_output="steps.ask.output.answers.map(a, a.by)",
        output=["bob", "ada"],
    ),
    Scenario(
        "approval-can-remind",
        ASK.format(
            f", timeout: 12d, on_timeout: continue, remind: {{every: 1d, max: 10, do: [{_MAIL}]}}"
        ),
        history_limit=30,
        steps_end={"ask[9].mail": "completed", "ask": "completed"},
    ),
]

WINDOWS = [
    Scenario(
        "delay-window",
        "{id: d, type: delay, for: 1h, window: {days: [mon], from: '09:00', to: '17:00', timezone: Europe/Berlin}}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-window-alone",
        "{id: d, type: delay, window: {from: '22:00', to: '06:00', timezone: '{{ input.zone }}'}}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-window-until",
        "{id: d, type: delay, until: run.started_at + days(2), window: {days: [sat, sun]}}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-window-failure",
        "{id: d, type: delay, window: {timezone: '{{ input.text }}'}}",
        "failed",
        code="EXPRESSION_ERROR",
        steps_end={"d": "failed"},
    ),
    Scenario(
        "delay-window-cancel",
        "{id: d, type: delay, for: 8d, window: {days: [mon]}}",
        "cancelled",
        act=cancel,
        steps_end={"d": "cancelled"},
    ),
    Scenario(
        "delay-window-can",
        "{id: both, type: parallel, branches: [{name: a, do: [{id: d, type: delay, for: 8d, "
        f"window: {{days: [mon]}}}}]}}, {{name: b, do: [{many(10)}]}}]}}",
        history_limit=30,
        steps_end={"d": "completed"},
    ),
]
