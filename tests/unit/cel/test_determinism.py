"""Two processes with different hash seeds give the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, sys
from schemas import cel
from schemas.errors import ExpressionError
from tests.unit.cel import test_checker, test_conformance
from tests.unit.cel.generator import VARIABLES, Generator
from tests.unit.cel.hostile import HOSTILE

generator = Generator(3)
corpus = [(generator.expression(), VARIABLES) for _ in range(2_000)]
tables = (test_conformance.VALUES, test_conformance.ERRORS, test_conformance.SYNTAX)
corpus += [(case[0], test_conformance.VARIABLES) for table in tables for case in table]
corpus += [(source, test_conformance.VARIABLES) for source in HOSTILE]
corpus += [("json(input)", {"input": {str(n): {str(m): m for m in range(9)} for n in range(99)}})]
lines = []
for source, variables in corpus:
    try:
        program = cel.compile(source)
        value, steps = program.evaluate_counted(variables)
        lines.append(f"{value!r} {type(value).__name__} {steps} {sorted(program.references)}")
    except ExpressionError as error:
        lines.append(f"{error.message} {error.offset} {error.hint}")
for source, *_ in (*test_checker.GOOD, *test_checker.BAD):
    lines.append(repr(cel.check(source, test_checker.VARIABLES)[1]))
sys.stdout.buffer.write("\\n".join(lines).encode("utf-8", "surrogatepass"))
"""


def output(seed: str) -> bytes:
    """Run the corpus in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_same_bytes_under_different_hash_seeds() -> None:
    """Values, orders of maps, steps, messages and hints do not depend on the hash seed."""
    first, second = output("1"), output("4242")
    assert len(first.splitlines()) > 2_000
    assert first == second
