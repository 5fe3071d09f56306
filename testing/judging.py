"""What was expected of a run against what came of it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import to_json

from schemas.durations import format_duration
from testing.cases import Case, EventExpected, Expect, LeadExpected, MailExpected
from testing.outcome import Outcome, parting
from testing.world import Mail

_SHOWN = 200


def judge(outcome: Outcome, case: Case) -> Outcome:
    """Add to the outcome every expectation that does not hold; gives the outcome."""
    expect = case.expect
    failures = outcome.failures
    if outcome.status != expect.wanted_status:
        failures.append(_status(outcome, expect.wanted_status))
    if "output" in expect.model_fields_set and outcome.output != expect.output:
        failures.append(_differs("output", expect.output, outcome.output))
    if expect.error is not None:
        failures += _error(outcome, expect.error.model_dump(exclude_none=True))
    failures += [*_steps(outcome, expect), *_entries("vars", expect.vars, outcome.vars)]
    if expect.mails is not None:
        failures += _mails(expect.mails, outcome.mails)
    if expect.emitted is not None:
        failures += _emitted(expect.emitted, outcome)
    if expect.lead is not None:
        failures += _lead(expect.lead, outcome)
    failures += _times(outcome, expect)
    return outcome


def _steps(outcome: Outcome, expect: Expect) -> list[str]:
    failures: list[str] = []
    if expect.path is not None and outcome.path != expect.path:
        failures.append(_way(expect.path, outcome.path))
    for path, status in expect.steps.items():
        step = outcome.steps.get(path)
        found = step.status.value if step is not None else "absent"
        if found != str(status):
            failures.append(f"the step {path!r} is {found}, not {status}")
    for path, attempts in expect.attempts.items():
        step = outcome.steps.get(path)
        tried = step.attempts if step is not None else 0
        if tried != attempts:
            failures.append(f"the step {path!r} had {tried} attempts, not {attempts}")
    return failures


def _times(outcome: Outcome, expect: Expect) -> list[str]:
    longest, shortest = expect.max_virtual_time, expect.min_virtual_time
    # The clock goes on by milliseconds while tasks are under way.
    virtual = timedelta(seconds=round(outcome.virtual.total_seconds()))
    took = format_duration(virtual)
    if longest is not None and virtual > longest:
        return [f"the run took {took}, more than {format_duration(longest)}"]
    if shortest is not None and virtual < shortest:
        return [f"the run took {took}, less than {format_duration(shortest)}"]
    return []


def _status(outcome: Outcome, wanted: str) -> str:
    why = ""
    if outcome.error is not None:
        step = f" at {outcome.error.step}" if outcome.error.step else ""
        why = f": {outcome.error.code}{step}: {outcome.error.message}"
    elif outcome.waits_for is not None:
        why = f": it {outcome.waits_for}"
    return f"the run is {outcome.status}, not {wanted}{why}"


def _error(outcome: Outcome, wanted: Mapping[str, str]) -> list[str]:
    error = outcome.error
    if error is None:
        return ["the run has no error"]
    failures: list[str] = []
    for name, value in wanted.items():
        found = getattr(error, name)
        if not (value in found if name == "message" else value == found):
            failures.append(_differs(f"error.{name}", value, found))
    return failures


def _way(wanted: list[str], found: list[str]) -> str:
    after, asked, came = parting(wanted, found)
    return f"the path differs {after}: {came} instead of {asked}; it was {', '.join(found)}"


def _mails(wanted: list[MailExpected], found: list[Mail]) -> list[str]:
    if len(wanted) != len(found):
        sent = ", ".join(f"{mail.step} to {' '.join(mail.to)}" for mail in found) or "none"
        return [f"{len(found)} mails were sent, not {len(wanted)}: {sent}"]
    if _matched(wanted, found):
        return []
    return [
        difference
        for index, (mail, sent) in enumerate(zip(wanted, found, strict=True))
        for difference in _mail(f"mails[{index}]", mail, sent)
    ]


def _matched(wanted: list[MailExpected], found: list[Mail]) -> bool:
    """True when each expected mail has a sent one of its own: side by side has no order.

    Augmenting paths (Kuhn, 1955).
    """
    owner: dict[int, int] = {}

    def place(mail: int, tried: set[int]) -> bool:
        for sent in range(len(found)):
            if sent in tried or _mail("", wanted[mail], found[sent]):
                continue
            tried.add(sent)
            if sent not in owner or place(owner[sent], tried):
                owner[sent] = mail
                return True
        return False

    return all(place(mail, set()) for mail in range(len(wanted)))


def _mail(here: str, mail: MailExpected, sent: Mail) -> list[str]:
    failures: list[str] = []
    to = [mail.to] if isinstance(mail.to, str) else mail.to
    for name, value in (
        ("to", to),
        ("subject", mail.subject),
        ("template", mail.template),
        ("step", mail.step),
    ):
        if value is not None and value != getattr(sent, name):
            failures.append(_differs(f"{here}.{name}", value, getattr(sent, name)))
    if mail.text is not None and mail.text not in (sent.text or ""):
        failures.append(f"{here}.text has no {mail.text!r}: {_short(sent.text)}")
    return [*failures, *_entries(f"{here}.data", mail.data or {}, sent.data)]


def _entries(where: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        _differs(f"{where}.{name}", value, found.get(name))
        for name, value in wanted.items()
        if name not in found or found[name] != value
    ]


def _emitted(wanted: list[EventExpected], outcome: Outcome) -> list[str]:
    asked = [event.model_dump(exclude_unset=True) for event in wanted]
    found = [event.model_dump(mode="json", exclude={"id", "time"}) for event in outcome.emitted]
    if len(asked) != len(found):
        return [_differs("emitted", asked, found)]
    return [
        failure
        for index, (event, sent) in enumerate(zip(asked, found, strict=True))
        for failure in _entries(f"emitted[{index}]", event, sent)
    ]


def _lead(wanted: LeadExpected, outcome: Outcome) -> list[str]:
    lead = outcome.lead
    if lead is None:
        return ["the run has no lead"]
    failures = _entries("lead.fields", wanted.fields, lead.fields)
    if wanted.status is not None and wanted.status != lead.status:
        failures.append(_differs("lead.status", wanted.status, lead.status))
    return failures


def _differs(what: str, wanted: Any, found: Any) -> str:
    return f"{what} is {_short(found)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = to_json(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
