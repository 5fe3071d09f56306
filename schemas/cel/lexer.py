"""Cuts a CEL source into tokens. Names are ASCII, as the language says."""

import re
from dataclasses import dataclass
from typing import Any, Final

from schemas.cel.budget import MAX_SOURCE, BudgetExceeded
from schemas.cel.values import UINT_MAX, Uint
from schemas.errors import ExpressionError


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `kind` is a sign or keyword itself, or one of `name quoted int literal end`.

    `value` is a name's text or a literal's value; an `int` is unsigned still, so that the
    smallest integer can be written with a minus before it.
    """

    kind: str
    offset: int
    value: Any = None


_TOKEN: Final = re.compile(
    r"""
    (?P<space>(?:[\t\n\f\r ]+|//[^\n]*)+)
  | (?P<string>(?:[bB][rR]?|[rR])?(?:\"{3}|'{3}|["']))
  | (?P<double>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+
        |\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<quoted>`[_a-zA-Z0-9./\- ]+`)
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)

_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"
    r"|([0-3][0-7]{2})|([abfnrtv\\\"'`?]))",
)
_SIMPLE: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}


def tokenize(source: str) -> list[Token]:
    """Return the tokens of `source`, the last of kind `end`; raises ExpressionError."""
    if len(source) > MAX_SOURCE or len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise BudgetExceeded(f"the expression is longer than {MAX_SOURCE} bytes", offset=0)
    tokens: list[Token] = []
    offset = 0
    while offset < len(source):
        match = _TOKEN.match(source, offset)
        if match is None:
            shown = source[offset]
            raise ExpressionError(
                f"unexpected character {shown!a}", offset=offset, hint=_near_miss(shown)
            )
        kind, text = match.lastgroup, match.group()
        if kind == "string":
            token, offset = _string(source, offset, text)
            tokens.append(token)
            continue
        if kind != "space":
            tokens.append(_token(str(kind), offset, text))
        offset = match.end()
    tokens.append(Token("end", len(source)))
    return tokens


def _token(kind: str, offset: int, text: str) -> Token:
    if kind == "sign":
        return Token(text, offset)
    if kind == "quoted":
        return Token("quoted", offset, text[1:-1])
    if kind == "double":
        return Token("literal", offset, float(text))
    if kind == "uint":
        return Token("literal", offset, Uint(_integer(text[:-1], offset)))
    if kind == "int":
        return Token("int", offset, _integer(text, offset))
    if text in _CONSTANTS:
        return Token("literal", offset, _CONSTANTS[text])
    return Token("in" if text == "in" else "name", offset, text)


def _near_miss(character: str) -> str | None:
    return {"=": "compare with ==", "&": "write &&", "|": "write ||"}.get(character)


def _integer(text: str, offset: int) -> int:
    value = int(text, 0) if text.startswith("0x") else int(text)
    if value > UINT_MAX:
        raise ExpressionError("the integer is out of range", offset=offset)
    return value


def _string(source: str, offset: int, opening: str) -> tuple[Token, int]:
    """Read a string or bytes literal; returns its token and the offset after it."""
    prefix = opening.rstrip("\"'").lower()
    quote = opening[len(prefix) :]
    raw = "r" in prefix
    start = position = offset + len(opening)
    while True:
        if source.startswith(quote, position):
            break
        if position >= len(source) or (len(quote) == 1 and source[position] in "\r\n"):
            raise ExpressionError("the string is not closed", offset=offset)
        position += 2 if source[position] == "\\" and not raw else 1
    text = source[start:position]
    value: str | bytes
    if "b" in prefix:
        value = _encoded(text, offset) if raw else _bytes_value(text, start)
    else:
        value = text if raw else _text_value(text, start)
    return Token("literal", offset, value), position + len(quote)


def _escapes(text: str, start: int) -> list[str | tuple[int, int, bool]]:
    """Split at escapes: plain parts as text, escapes as (code, offset, is Unicode escape)."""
    parts: list[str | tuple[int, int, bool]] = []
    position = 0
    while True:
        at = text.find("\\", position)
        if at < 0:
            parts.append(text[position:])
            return parts
        parts.append(text[position:at])
        match = _ESCAPE.match(text, at)
        if match is None:
            raise ExpressionError("unknown escape in the string", offset=start + at)
        small, large, short, long, octal, simple = match.groups()
        if simple is not None:
            code = ord(_SIMPLE.get(simple, simple))
        else:
            code = int(octal, 8) if octal else int(small or large or short or long, 16)
        parts.append((code, start + at, (short or long) is not None))
        position = match.end()


def _text_value(text: str, start: int) -> str:
    if "\\" not in text:
        return text
    result: list[str] = []
    for part in _escapes(text, start):
        if isinstance(part, str):
            result.append(part)
            continue
        code, offset, _ = part
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ExpressionError("the escape is not a Unicode character", offset=offset)
        result.append(chr(code))
    return "".join(result)


def _bytes_value(text: str, start: int) -> bytes:
    result = bytearray()
    for part in _escapes(text, start):
        if isinstance(part, str):
            result += _encoded(part, start)
            continue
        code, offset, unicode_escape = part
        if unicode_escape:
            raise ExpressionError("bytes take no Unicode escapes", offset=offset)
        result.append(code)
    return bytes(result)


def _encoded(text: str, offset: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("the text is not valid Unicode", offset=offset) from None
