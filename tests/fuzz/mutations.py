"""Changes expressions: bytes, characters, tokens, and whole parts of the grammar."""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from schemas import cel
from tests.unit.cel.generator import Generator

MAX_LENGTH: Final = 400  # characters; longer ones are cut
# Names that a mutation may put in, beside those of functions and macros.
NAMES: Final = (
    "i", "j", "zero", "big", "d", "s", "t", "empty", "yes", "none", "xs", "ys", "mixed", "nothing",
    "m", "people", "input", "run", "run.now", "x", "y", "rows", "steps", "items", "half", "table",
    "deep", "words", "numbers", "full", "commas", "wide",
)  # fmt: skip
_LITERALS: Final = (
    "0", "1", "-1", "63", "1u", "0u", "2.5", "-0.0", "1e308", "1e-320", "9223372036854775807",
    "-9223372036854775808", "18446744073709551615u", "0x7fffffffffffffff", "''", "'a'", "b'\\xff'",
    "'\\u0000'", "'\\U0010ffff'", "r'\\'", "'''a\nb'''", "null", "true", "false", "[]", "{}",
    "[1, 'a', null]", "{'a': 1}", "{1: 2, true: 3}", "'(a|b)*$'", "'\\\\pL{9}'", "'(?i)ß'",
    "'2024-02-29T23:59:59.999Z'", "'9999-12-31T23:59:59Z'", "'-1h30m'", "'Europe/Berlin'",
    "'{\"a\": [1, 1e400]}'", "'%Y-%m'", "','", "timestamp(0)", "duration('1h')", "0.0 / 0.0",
)  # fmt: skip
_SIGNS: Final = (
    "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ", "!", "?", ":",
    ".", ",", "(", ")", "[", "]", "{", "}", "'", '"', "\\", "`", "//", "\n", " ", "b'", "r'",
)  # fmt: skip
_CHARACTERS: Final = (
    "\0\t\x1b\x7f\x85\xa0\xdf\xe9\u0130\ufb01\u212a\u0301\u200b\u202e\u2028\ufeff\uff0e\uff11\u0663"
    "\U0001f600\ud800\udfff"
)
_TOKEN: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[A-Za-z_]\w*|\d[\w.]*|[<>=!&|]{1,2}|\S")


class Mutator:
    """Changes texts at random; the same seed and the same calls give the same texts."""

    def __init__(self, seed: int) -> None:
        """Start from `seed`."""
        self.random = Random(seed)
        self._generator = Generator(seed)
        self._functions = [*cel.FUNCTIONS, *cel.MACROS]
        self._ways: Sequence[Callable[[str, str], str]] = (
            self._cut, self._double, self._put, self._put, self._character, self._replace,
            self._replace, self._replace, self._splice, self._grow, self._grow, self._wrap,
            self._wrap, self._call, self._call,
        )  # fmt: skip

    def changed(self, text: str, other: str) -> str:
        """Change `text` once to four times, now and then with parts of `other`."""
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 3, 4))):
            text = self.random.choice(self._ways)(text, other)[:MAX_LENGTH]
        return text

    def _cutting(self, text: str) -> tuple[int, int]:
        start = self.random.randrange(len(text) + 1)
        return start, min(len(text), start + self.random.choice((1, 1, 2, 4, 9)))

    def _atom(self) -> str:
        return self.random.choice(self.random.choice((NAMES, _LITERALS)))

    def _cut(self, text: str, _: str) -> str:
        start, end = self._cutting(text)
        return text[:start] + text[end:]

    def _double(self, text: str, _: str) -> str:
        start, end = self._cutting(text)
        return text[:end] + text[start:end] * self.random.choice((1, 1, 2, 9)) + text[end:]

    def _put(self, text: str, _: str) -> str:
        start = self.random.randrange(len(text) + 1)
        piece = self.random.choice((*_SIGNS, self._atom(), self.random.choice(self._functions)))
        return text[:start] + piece + text[start:]

    def _character(self, text: str, _: str) -> str:
        start, end = self._cutting(text)
        one = self.random.choice((self.random.choice(_CHARACTERS), chr(self.random.randrange(256))))
        return text[:start] + one + text[end:]

    def _replace(self, text: str, _: str) -> str:
        """Put another token for one; names and numbers most often for the like."""
        tokens = list(_TOKEN.finditer(text))
        if not tokens:
            return self._atom()
        token = self.random.choice(tokens)
        before = token.group()
        if before in cel.FUNCTIONS or before in cel.MACROS:
            after = self.random.choice(self._functions)
        elif before[0].isalnum() or before[0] in "'\"_":
            after = self._atom()
        else:
            after = self.random.choice(_SIGNS)
        return text[: token.start()] + after + text[token.end() :]

    def _splice(self, text: str, other: str) -> str:
        start, end = self._cutting(text)
        first = self.random.randrange(len(other) + 1)
        return text[:start] + other[first : first + self.random.randrange(1, 60)] + text[end:]

    def _grow(self, text: str, _: str) -> str:
        """Put a generated expression for a token."""
        tokens = list(_TOKEN.finditer(text))
        fresh = self._generator.expression(self.random.choice((1, 1, 2)))
        if not tokens:
            return fresh
        token = self.random.choice(tokens)
        return text[: token.start()] + fresh + text[token.end() :]

    def _wrap(self, text: str, other: str) -> str:
        part = other if len(other) < 60 else self._atom()
        pattern = self.random.choice((
            "[{0}].map(x, {1})", "[{1}, {0}]", "{{'a': {0}, 's': {1}}}", "({0}) == ({1})",
            "({0}) + ({1})", "({0}) < ({1})", "({0}) in ({1})", "xs.all(x, {0})", "has({0}.a)",
            "({1}) ? ({0}) : ({1})", "default({0}, {1})", "({0})[{1}]", "({0}).a", "-({0})",
            "!({0})", "{{{1}: {0}}}", "words.filter(x, {0})", "({0}) && ({1})", "({0}) || ({1})",
        ))  # fmt: skip
        return pattern.format(text, part)

    def _call(self, text: str, other: str) -> str:
        """Call a function on the text with a number of arguments that it may have."""
        name = self.random.choice(list(cel.FUNCTIONS))
        function = cel.FUNCTIONS[name]
        arguments = [text, other if len(other) < 60 else self._atom(), self._atom(), self._atom()]
        arguments = arguments[: self.random.choice(function.arities())]
        if self.random.random() < 0.5:
            self.random.shuffle(arguments)
        if function.method and arguments and (not function.free or self.random.random() < 0.5):
            return f"({arguments[0]}).{name}({', '.join(arguments[1:])})"
        return f"{name}({', '.join(arguments)})"
