"""Searches for expressions that break the engine, in a process of its own.

`python -m tests.fuzz.expressions search --runs N --seed S --out DIR` writes DIR/report.json and
the texts that showed something new into DIR/corpus. With atheris the engine's coverage leads the
search, without it the kinds of results do; the engine is imported only once that is chosen.
`replay --out DIR` evaluates those texts again and prints a digest of all that they give, with how
long the slowest takes. `--break` puts a defect in, to show that the search would notice.
"""

import argparse
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ATHERIS: Final = "atheris"
_INSTRUMENTED: Final = ["schemas.cel"]
_MEBIBYTE: Final = 2**20
# Texts, after which the report is written anew: a search that is stopped has one, too.
_REPORTED: Final = 50_000
# Random bytes for a mutation by libFuzzer itself, which knows nothing of the grammar.
_BY_BYTES: Final = 0.2


def has_atheris() -> bool:
    """Tell whether coverage can lead the search here."""
    return importlib.util.find_spec(ATHERIS) is not None


class Search:
    """One search: counts to `runs`, then writes its report and ends the process."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Begin with the corpus of the seed."""
        from tests.fuzz.target import Target, corpus
        from tests.fuzz.wrongs import inflict

        inflict(options.wrong)
        self.target = Target(options.cut)
        self.runs: int = options.runs
        self.seed: int = options.seed
        self.out = Path(options.out)
        self.guide = ""
        self.begin = corpus(self.seed)
        self.folder = self.out / "corpus"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = 0
        self._began = time.process_time()

    def one(self, source: str) -> None:
        """Try one text; does not come back from the last."""
        self.target.try_text(source)
        if self.target.execs == len(self.begin):
            gc.collect()
            self._before = _most_resident()
        if self.target.execs % _REPORTED == 0:
            self._report()
        if self.target.execs >= self.runs:
            self._report()
            # libFuzzer would go on, and Python's own end is of no interest.
            os._exit(0)

    def keep(self, source: str) -> None:
        """Put a text into the folder of the corpus."""
        from tests.fuzz.target import encoded

        data = encoded(source)
        (self.folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)

    def _report(self) -> None:
        target = self.target
        report = {
            "guide": self.guide,
            "seed": self.seed,
            "execs": target.execs,
            "not_compiled": target.refused,
            "evaluated": target.execs - target.refused,
            "errors": target.errors,
            "budgets_spent": target.spent,
            "findings": target.findings,
            "differing": target.differing,
            "slowest": sorted(target.slowest, reverse=True),
            "grown": max(0, _most_resident() - self._before) / _MEBIBYTE,
            "cpu": time.process_time() - self._began,
            "kept": len(list(self.folder.iterdir())),
        }
        (self.out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


def _most_resident() -> int:
    """Give the most memory that the process ever had, in bytes; raises OSError without /proc.

    Not `ru_maxrss`: a process inherits the one of the process that it was forked from.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def guided(options: argparse.Namespace) -> None:
    """Search where the engine's coverage leads; half of the mutations know the grammar."""
    atheris: Any = importlib.import_module(ATHERIS)
    with atheris.instrument_imports(include=_INSTRUMENTED):
        importlib.import_module("schemas.cel")
    from tests.fuzz.mutations import MAX_LENGTH, Mutator
    from tests.fuzz.target import decoded, encoded

    search = Search(options)
    search.guide = "coverage"
    for source in search.begin:
        search.keep(source)
    mutator = Mutator(search.seed)
    others = list(search.begin)

    def mutate(data: bytes, most: int, _: int) -> bytes:
        if mutator.random.random() < _BY_BYTES:
            return atheris.Mutate(data, most)
        text = mutator.changed(decoded(data), mutator.random.choice(others))
        return encoded(text)[:most]

    flags = [
        f"-seed={search.seed}",
        f"-max_len={MAX_LENGTH}",
        f"-runs={search.runs * 2}",
        "-mutate_depth=1",  # a mutation of ours is several already
        "-verbosity=1",
        "-timeout=600",
        f"-artifact_prefix={search.out}/",
    ]
    atheris.Setup(
        [sys.argv[0], *flags, str(search.folder)],
        lambda data: search.one(decoded(data)),
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def blind(options: argparse.Namespace) -> None:
    """Search by mutations alone; a text with a new kind of result is mutated further."""
    from tests.fuzz.mutations import Mutator

    search = Search(options)
    search.guide = "results"
    mutator = Mutator(search.seed)
    pool = list(search.begin)
    seen: set[tuple[str, int]] = set()

    def attempt(source: str) -> None:
        search.one(source)
        if search.target.signature not in seen:
            seen.add(search.target.signature)
            search.keep(source)
            # What is mutated from a text that does not compile hardly ever does.
            if search.target.signature[1]:
                pool.append(source)

    for source in search.begin:
        attempt(source)
    while True:
        attempt(mutator.changed(mutator.random.choice(pool), mutator.random.choice(pool)))


def replay(folder: Path, cut: int | None) -> dict[str, Any]:
    """Evaluate again what a search has kept.

    Gives `digest`, of the results and steps of every text, and `worst_ms` of CPU with its text:
    the slowest of the search and the bombs, each at its best of some tries with empty caches.
    """
    from schemas.cel.parser import parse
    from schemas.cel.program import Program
    from schemas.errors import ExpressionError
    from tests.fuzz.target import Target, decoded, outcome, worst
    from tests.unit.cel.bombs import RUN_TIME

    target = Target(cut)
    digest = hashlib.sha256()
    for file in sorted((folder / "corpus").iterdir()):
        source = decoded(file.read_bytes())
        try:
            told: Any = outcome(Program(source, parse(source)), target.variables)
        except ExpressionError as error:
            told = (error.message, error.offset, error.hint)
        digest.update(repr(told).encode("utf-8", "surrogatepass"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    seconds, slowest = worst([source for _, source in report["slowest"]] + [*RUN_TIME.values()])
    return {"digest": digest.hexdigest(), "worst_ms": seconds * 1000, "worst": slowest}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("search", "replay"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--cut", type=int, help="the most entries of a variable")
    parser.add_argument("--blind", action="store_true", help="without coverage")
    parser.add_argument("--break", dest="wrong", choices=("raise", "steps", "leak"))
    options = parser.parse_args()
    if options.what == "replay":
        sys.stdout.write(json.dumps(replay(Path(options.out), options.cut)))
        return
    way: Callable[[argparse.Namespace], None] = blind
    if has_atheris() and not options.blind:
        way = guided
    way(options)


if __name__ == "__main__":
    main()
