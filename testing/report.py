"""What came of test files: cases, coverage, and what CI must know of both."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.definition import Definition
from schemas.durations import format_duration
from testing.coverage import Coverage, measure
from testing.loading import BadFile, Suite
from testing.outcome import Outcome

PASSED, FAILED, BAD = 0, 1, 2


@dataclass(frozen=True)
class SuiteResult:
    """The outcomes of one test file, in the order of its cases."""

    suite: Suite
    outcomes: list[Outcome]

    @property
    def ok(self) -> bool:
        """True when every case holds."""
        return all(outcome.ok for outcome in self.outcomes)


@dataclass(frozen=True)
class Report:
    """All files of one session; `cover` is the coverage in percent that every definition needs."""

    results: list[SuiteResult] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)
    cover: float = 0.0
    seconds: float = 0.0

    def coverage(self) -> dict[Path, Coverage]:
        """Give the coverage of each definition over all its files, by the definition's path."""
        runs: dict[Path, tuple[Definition, list[Outcome]]] = {}
        for result in self.results:
            path = result.suite.definition_path
            runs.setdefault(path, (result.suite.definition, []))[1].extend(result.outcomes)
        return {path: measure(definition, found) for path, (definition, found) in runs.items()}

    @property
    def exit_code(self) -> int:
        """0 when all holds, 1 for failures or too little coverage, 2 for a bad file."""
        if self.bad:
            return BAD
        covered = all(each.percent >= self.cover for each in self.coverage().values())
        passed = all(result.ok for result in self.results)
        return PASSED if covered and passed else FAILED

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON values."""
        return {
            "ok": self.exit_code == PASSED,
            "seconds": round(self.seconds, 3),
            "files": [
                {
                    "file": str(result.suite.path),
                    "definition": result.suite.definition.name,
                    "cases": [case_json(outcome) for outcome in result.outcomes],
                }
                for result in self.results
            ],
            "coverage": [
                {"definition": str(path), **coverage_json(found), "required": self.cover}
                for path, found in self.coverage().items()
            ],
            "bad": [
                {
                    "file": str(bad.path),
                    "message": bad.message,
                    "problems": [
                        problem.model_dump(mode="json", exclude_none=True)
                        for problem in bad.problems
                    ],
                }
                for bad in self.bad
            ],
        }


def case_json(outcome: Outcome) -> dict[str, Any]:
    """Give one case as JSON values."""
    return {
        "name": outcome.name,
        "ok": outcome.ok,
        "failures": outcome.failures,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
        "status": outcome.status.value,
        "output": outcome.output,
        "error": outcome.error.model_dump(mode="json") if outcome.error else None,
        "waits_for": outcome.waits_for,
        "path": outcome.path,
        "steps": [
            step.model_dump(mode="json", exclude_none=True) for step in outcome.steps.values()
        ],
        "mails": [
            {
                "step": mail.step,
                "to": mail.to,
                "subject": mail.subject,
                "template": mail.template,
                "data": mail.data,
                "text": mail.text,
            }
            for mail in outcome.mails
        ],
        "emitted": [event.model_dump(mode="json") for event in outcome.emitted],
        "vars": outcome.vars,
        "lead": outcome.lead.model_dump(mode="json") if outcome.lead else None,
        "virtual_time": format_duration(outcome.virtual),
        "real_ms": round(outcome.real * 1000, 1),
    }


def coverage_json(coverage: Coverage) -> dict[str, Any]:
    """Give a coverage as JSON values."""
    return {
        "percent": round(coverage.percent, 1),
        "edges": len(coverage.edges),
        "taken": len(coverage.taken),
        "missed": [str(edge) for edge in coverage.missed],
    }
