"""Hostile and random texts end in ExpressionError or in a harmless value, in nothing else."""

import copy
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import cel
from schemas.errors import ExpressionError
from tests.faults.evidence import figures
from tests.unit.cel.generator import VARIABLES as GENERATED
from tests.unit.cel.generator import Generator
from tests.unit.cel.hostile import HARMLESS, HOSTILE

VARIABLES: dict[str, Any] = {
    "input": {"name": "Ada", "tags": ["a"], "n": 5},
    "run": {"now": datetime(2026, 1, 1, tzinfo=UTC)},
}
MUTATIONS = 20_000
# fmt: off
TOKENS = [
    "input", "run", "name", "x", "size", "has", "default", "map", "all", "filter", "1", "2u", "1.5",
    "'a'", "b'a'", "null", "true", "in", "&&", "||", "==", "<", "+", "-", "*", "/", "%", "!", "?",
    ":", ".", ",", "(", ")", "[", "]", "{", "}", "input.name", "input.tags", "[1]", "matches",
]
# fmt: on
SIGNS = ["(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "!", "-", "'", '"', "\\", "`", " ", "\n"]


def attempt(source: str, variables: dict[str, Any]) -> Any:
    """Check, compile and evaluate; returns the value, or the error that was raised."""
    kinds = dict.fromkeys(variables, cel.DYN)
    _, problems = cel.check(source, kinds)
    assert all(0 <= problem.offset <= len(source) for problem in problems)
    try:
        return cel.compile(source).evaluate(variables)
    except ExpressionError as error:
        result = error
    assert result.offset is None or 0 <= result.offset <= len(source)
    return result


def test_the_corpus_is_large() -> None:
    """There are well over a hundred different texts that are refused."""
    assert len(set(HOSTILE)) == len(HOSTILE)
    refused = sum(isinstance(attempt(source, VARIABLES), ExpressionError) for source in HOSTILE)
    assert refused == len(HOSTILE) - len(HARMLESS) > 200
    figures("T10 texts that break out elsewhere", texts=len(HOSTILE), refused=refused, escaped=0)


@pytest.mark.parametrize("source", HOSTILE, ids=[ascii(source) for source in HOSTILE])
def test_hostile_text(source: str) -> None:
    """The text is refused, or says something harmless; the variables stay as they were."""
    before = copy.deepcopy(VARIABLES)
    result = attempt(source, VARIABLES)
    if source in HARMLESS:
        assert result == HARMLESS[source]
    else:
        assert isinstance(result, ExpressionError)
    assert "<class" not in str(result)
    assert "object at" not in str(result)
    assert before == VARIABLES


def test_dunder_names_are_ordinary_keys() -> None:
    """A map may have any key; Python's attributes are not among them."""
    values = {"a": {"__class__": 1, "__init__": {"__globals__": 2}}}
    assert cel.compile("a.__class__ + a.__init__.__globals__").evaluate(values) == 3
    assert cel.compile("has({}.__class__) || has(a.__dict__)").evaluate(values) is False


@given(st.text(max_size=60))
@settings(derandomize=True, max_examples=1_000, deadline=None)
def test_random_text(source: str) -> None:
    """Any text at all is compiled or refused."""
    attempt(source, VARIABLES)


@given(
    st.lists(
        st.sampled_from(TOKENS),
        max_size=25,
    )
)
@settings(derandomize=True, max_examples=2_000, deadline=None)
def test_random_tokens(tokens: list[str]) -> None:
    """Any row of tokens is compiled or refused, and evaluates to a value or an error."""
    attempt(" ".join(tokens), VARIABLES)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(json_values, json_values)
@settings(derandomize=True, max_examples=400, deadline=None)
def test_any_json_in_any_operation(one: Any, other: Any) -> None:
    """Every operator and function gives a value or an ExpressionError for all JSON data."""
    variables = {"a": one, "b": other}
    for sign in ("+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||"):
        attempt(f"a {sign} b", variables)
    for source in ("-a", "!a", "a[b]", "a.x", "has(a.x)", "a ? b : a", "{a: b}", "default(a.x, b)"):
        attempt(source, variables)
    for macro in ("all", "exists", "exists_one", "filter", "map"):
        attempt(f"a.{macro}(x, x == b)", variables)
    for name, function in cel.FUNCTIONS.items():
        for arity in function.arities():
            arguments = ["a", "b", "a"][:arity] + ["b"] * max(arity - 3, 0)
            if function.free:
                attempt(f"{name}({', '.join(arguments)})", variables)
            if function.method:
                attempt(f"{arguments[0]}.{name}({', '.join(arguments[1:])})", variables)


def test_mutated_expressions() -> None:
    """Expressions with pieces cut, doubled, swapped and put in are compiled or refused."""
    chance = random.Random(7)
    generator = Generator(7)
    errors = 0
    for _ in range(MUTATIONS):
        source = generator.expression(3)
        for _ in range(chance.randrange(1, 4)):
            start = chance.randrange(len(source) + 1)
            end = min(len(source), start + chance.randrange(1, 6))
            put = chance.choice(["", source[start:end] * 2, chance.choice(SIGNS)])
            source = source[:start] + put + source[end:]
        errors += isinstance(attempt(source, GENERATED), ExpressionError)
    assert MUTATIONS * 0.2 < errors < MUTATIONS
