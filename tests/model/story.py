"""What the reference model tells: steps, their errors, the whole run, and what was done to it."""

from dataclasses import dataclass, field
from typing import Any

Raw = dict[str, Any]


class Untestable(Exception):
    """The definition gets where the test server itself does not keep its promises."""


class Stuck(Exception):
    """The run waits for operators; `paths` are the steps held, `at` is when (s)."""

    def __init__(self, paths: list[str], at: float) -> None:
        """Say which steps wait since when."""
        super().__init__(", ".join(paths))
        self.paths = paths
        self.at = at


@dataclass(frozen=True)
class Act:
    """What is done to a run from outside `at` so many seconds after its start."""

    at: float
    kind: str  # cancel, pause, resume, signal, event, decide, respond
    name: str = ""
    data: Any = None


@dataclass
class Error:
    """Why a step failed, and which one it was."""

    code: str
    message: str
    step: str

    def view(self) -> Raw:
        """Give the error as expressions see it."""
        return {"code": self.code, "message": self.message, "step": self.step, "details": None}


@dataclass
class Outcome:
    """How a node ended: ok with a value, error, or stop with the run's output."""

    kind: str
    value: Any = None
    error: Error | None = None
    # By an operator: nothing on its way deals with the error.
    aborted: bool = False


@dataclass
class Told:
    """One step as the model tells it; times are in seconds since the run's start."""

    path: str
    id: str
    kind: str
    status: str = "running"
    output: Any = None
    error: Error | None = None
    attempts: int = 0
    started: float = 0.0
    finished: float = 0.0
    # Of a step that an operator runs again: what was inside is told, but nothing can read it.
    forgotten: bool = False


@dataclass
class Story:
    """A whole run as the model tells it."""

    status: str = "running"
    output: Any = None
    error: Error | None = None
    steps: dict[str, Told] = field(default_factory=dict)
    vars: Raw = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)
    ended: float = 0.0


@dataclass(frozen=True)
class Scope:
    """Where a step list runs: the loop iterations around it, and the names it sees."""

    prefixes: tuple[str, ...] = ("",)
    names: Raw = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What stands before the ids of this list's steps."""
        return self.prefixes[-1]

    def named(self, names: Raw) -> "Scope":
        """Give the same place with more names."""
        return Scope(self.prefixes, {**self.names, **names})

    def iteration(self, loop: str, index: int, names: Raw) -> "Scope":
        """Give the place of one iteration."""
        inner = f"{self.prefix}{loop}[{index}]."
        return Scope((*self.prefixes, inner), {**self.names, **names})


@dataclass
class Undoing:
    """A compensation that is due: of which step, in which place, and since when."""

    step: Raw
    path: str
    scope: Scope
    told: Told
