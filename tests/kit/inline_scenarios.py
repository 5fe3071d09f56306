"""Actions as local activities, with every way to end."""

from tests.kit.scenarios import Scenario, cancel

_INLINE = "type: probe, execution: inline"

INLINE = [
    Scenario(
        "inline-success",
        f"{{id: a, {_INLINE}, with: {{value: 1}}}}, {{id: b, {_INLINE}, with: {{value: '{{{{ steps.a.output.value + 1 }}}}'}}}}",
        run_output="steps.b.output.value",
        output=2,
    ),
    Scenario(
        "inline-failure",
        f"{{id: a, {_INLINE}, retry: {{attempts: 1}}, with: {{failures: 9}}}}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "failed"},
    ),
    Scenario(
        "inline-retried",
        f"{{id: a, {_INLINE}, retry: {{initial: 100ms}}, with: {{failures: 2, value: 7}}}}",
        run_output="steps.a.output.value",
        output=7,
    ),
    Scenario(
        "inline-turn",
        f"{{id: a, {_INLINE}, retry: {{attempts: 2, initial: 100ms}}, with: {{turn: 90, failures: 1, value: 7}}}}",
        run_output="steps.a.output.value",
        output=7,
    ),
    Scenario(
        "inline-timeout",
        f"{{id: a, {_INLINE}, timeout: 1s, retry: {{attempts: 1}}, with: {{hold: true}}}}",
        "failed",
        code="STEP_TIMEOUT",
        real_time=True,
    ),
    Scenario(
        "inline-cancel",
        f"{{id: a, {_INLINE}, timeout: 5s, with: {{hold: true}}}}",
        "cancelled",
        act=cancel,
        steps_end={"a": "cancelled"},
        real_time=True,
    ),
    Scenario(
        "inline-many",
        ", ".join(f"{{id: p{n}, {_INLINE}, with: {{value: {n}}}}}" for n in range(60)),
        run_output="steps.p59.output.value",
        output=59,
    ),
    # Queued, and waiting for their turns as inline ones do.
    Scenario(
        "action-turn",
        "{id: a, type: probe, retry: {attempts: 1}, with: {turn: 90, value: 7}}",
        run_output="steps.a.output.value",
        output=7,
    ),
    Scenario(
        "action-turn-failure",
        "{id: a, type: probe, retry: {attempts: 2, initial: 100ms}, with: {turn: 90, failures: 9}}",
        "failed",
        code="STEP_FAILED",
    ),
]
