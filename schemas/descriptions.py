"""What editors show beside a field of the language: one sentence each."""

from collections.abc import Mapping
from typing import Any, Final

# `Model.field`, or `field` for all models that have one.
_FIELDS: Final[Mapping[str, str]] = {
    "id": "unique in the whole definition; other steps read steps.<id>.output",
    "title": "for people; shown in the console and in Temporal's Web UI",
    "type": "the kind of step: a control step or the name of an action",
    "depends_on": "ids of the same list to wait for; [] starts at once; without it the step before",
    "description": "for people",
    "do": "the steps",
    "timeout": "how long; for an action, one attempt",
    "on_timeout": "fail, continue with a null output, or steps to run",
    "name": "unique in the definition",
    "limits": "limits of each run",
    "defaults": "what actions use that say nothing themselves",
    "priority": "1 first ... 5 last",
    "retry": "how often and when a failed action is tried again",
    "goal": "an event that ends the run early, wherever it stands",
    "steps": "the steps of a run, at most 500 with all nested ones",
    "engine": "version of the language",
    "event": "type of the event",
    "key": "which of the events of this type is meant; may hold {{ }}",
    "where": "CEL over the event and the run: only events for which it is true",
    "signal": "name of the signal, which is sent to this very run",
    "Approval.assignees": "who may answer: a list, or {{ CEL }} that gives one",
    "Approval.description": "what the people are asked; may hold {{ }}",
    "Approval.form": "JSON Schema of the answer's data",
    "Approval.approvals": "how many must approve; one rejection decides",
    "Approval.remind": "steps that run every so often until the answer comes",
    "Approval.escalate": "more people, and steps, after so long without an answer",
    "Branch.name": "the branch's output is steps.<id>.output.<name>",
    "Case.is": "the case is taken when it equals the value of 'on'; may hold {{ }}",
    "Case.if": "CEL: the case is taken when it is true",
    "Condition.if": "CEL: true runs 'then', false 'else'",
    "Condition.check": "a named check that reads the database, instead of 'if'",
    "Condition.with": "parameters of the check; may hold {{ }}",
    "Condition.then": "steps for true",
    "Condition.else": "steps for false",
    "Defaults.timeout": "of one attempt",
    "Delay.for": "how long, such as 3d4h",
    "Delay.until": "CEL that gives a timestamp",
    "Delay.window": "the delay ends only in these hours of the week",
    "ErrorRoute.codes": "error codes it is for; without it, any",
    "ErrorRoute.do": "fail, continue, pause, or steps to run instead",
    "Escalate.after": "counted from the begin of the approval",
    "Escalate.to": "who may answer as well: a list, or {{ CEL }} that gives one",
    "Fail.code": "the run's error code, in capitals",
    "Fail.message": "the run's error message; may hold {{ }}",
    "ForEach.as": "the item's name inside 'do', beside 'item'",
    "ForEach.concurrency": "how many items at once",
    "ForEach.join": "all, any, or how many must succeed; the rest are cancelled",
    "ForEach.batch": "items of one child run; above 200 items there always are child runs",
    "Parallel.branches": "at most 50",
    "Parallel.join": "all, any, or how many must succeed; the rest are cancelled",
    "Parallel.on_branch_error": "fail at once, or let the other branches go on",
    "Remind.every": "time from one reminder to the next",
    "Remind.max": "how many reminders at most",
    "Repeat.while": "CEL, judged before each round",
    "Repeat.until": "CEL, judged after each round over its results",
    "Repeat.max": "the step fails with LIMIT_EXCEEDED after so many rounds",
    "Repeat.every": "time from one round's begin to the next",
    "Retry.attempts": "in all, the first one included",
    "Retry.initial": "wait before the second attempt",
    "Retry.factor": "each wait is so many times the one before",
    "Retry.max": "longest wait",
    "Retry.jitter": "wait a random time between half of it and all",
    "Retry.only": "error codes that are tried again; any, when empty",
    "Retry.except": "error codes that are not tried again",
    "SetVars.vars": "name to value, read as vars.<name>; may hold {{ }}",
    "Split.variants": "at most 20",
    "Split.key": "the same key gets the same variant for ever; may hold {{ }}",
    "Split.holdout": "percent of the keys that get no variant",
    "SubRun.definition": "name of the definition to run",
    "SubRun.version": "the active one when left out",
    "SubRun.input": "the child run's input; may hold {{ }}",
    "SubRun.mode": "wait for the child's end, or detach from it",
    "SubRun.depends": "blocking, conditional (any end will do), or parallel",
    "Switch.on": "CEL whose value the cases' 'is' are compared with",
    "Switch.cases": "the first that matches is taken; at most 100",
    "Switch.default": "steps when no case matches",
    "Variant.name": "steps.<id>.output.variant; unique in its split",
    "Variant.weight": "its share beside the others' weights",
    "Wait.any": "several sources, of which the first one counts",
    "Wait.all": "several sources, all of which must come",
    "Window.days": "days on which it opens",
    "Window.from": "HH:MM, the first minute inside",
    "Window.to": "HH:MM, the first minute outside; 24:00 is midnight",
    "Window.timezone": "IANA name, such as Europe/Berlin; the definition's when left out",
}


def describe(model: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the properties of a model's JSON Schema, each with a description for editors."""
    return {
        name: {**schema, "description": told} if (told := _told(model, name, schema)) else schema
        for name, schema in properties.items()
    }


def _told(model: str, name: str, schema: Mapping[str, Any]) -> str | None:
    return _FIELDS.get(f"{model}.{name}") or schema.get("description") or _FIELDS.get(name)
