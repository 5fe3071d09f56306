"""Expressions that want far too much: each must be stopped by a budget, quickly and cheaply."""

from typing import Any, Final

_TEN = "[0,1,2,3,4,5,6,7,8,9]"

VARIABLES: Final[dict[str, Any]] = {
    "xs": list(range(300)),
    "many": list(range(200_000)),
    "words": ["word"] * 5_000,
    "table": {f"key{number}": number for number in range(10_000)},
    "numbers": {number: number for number in range(20_000)},
    "a": "a" * 29_999,
    "half": "a" * 7_500 + "b" + "a" * 7_500,
    "full": "a" * 65_536,
    "wide": "\N{GRINNING FACE}" * 16_384,
    "huge": "a" * 1_000_000,
    "twin": "a" * 999_999 + "a",
    "sharp": "ß" * 32_768,
    "commas": "," * 65_536,
    "items": list(range(10_000)),
    "copy": list(range(10_000)),
    "deep_json": "[" * 30_000 + "]" * 30_000,
    "long_json": "[" + "1," * 30_000 + "1]",
    "lists_json": "[" + "[]," * 20_000 + "[]]",
}


def _deep_value(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


VARIABLES["deep"] = _deep_value(5_000)
VARIABLES["deep_twin"] = _deep_value(5_000)


def _nested(depth: int, source: str, body: str) -> str:
    """Nest `depth` maps over `source`."""
    for level in range(depth):
        body = f"{source}.map(v{level}, {body})"
    return body


def _doubling(kind: str, times: int) -> str:
    """Double a value by nested one-item loops: `[[x + x]].map(y, y + y)` and so on."""
    expression = kind
    for level in range(times):
        expression = f"[{expression}].map(v{level}, v{level} + v{level})[0]"
    return expression


RUN_TIME: Final[dict[str, str]] = {
    "cube of 300": _nested(3, "xs", "v0 + v1 + v2"),
    "nested 10 to the 8th": _nested(8, _TEN, "1"),
    "nested all": "xs.all(a, xs.all(b, xs.all(c, a + b + c >= 0)))",
    "nested exists": "xs.exists(a, xs.exists(b, xs.exists(c, a + b + c < 0)))",
    "nested exists_one": "xs.exists_one(a, xs.exists_one(b, xs.exists_one(c, a + b + c < 0)))",
    "nested filter": "xs.filter(a, xs.filter(b, xs.filter(c, true).size() > 0).size() > 0)",
    "loop over 200,000": "many.map(x, x)",
    "loop of errors": "many.all(x, x.missing)",
    "loop of missing keys": "many.exists(x, table.nothing == x)",
    "loop of absorbed errors": "many.all(x, table.nothing || true)",
    "loop of defaults": "many.map(x, default(table.keyy, x))",
    "string doubling": _doubling(f"'{'a' * 600}'", 8),
    "wide string doubling": _doubling("wide", 3),
    "string concatenation": "xs.map(x, full.trim() + '')",
    "many long strings": "words.map(x, full + '').map(y, full + '')",
    "list doubling": _doubling(f"[{'1,' * 100}]", 8),
    "list concatenation": "words.map(x, items + [])",
    "list too long": "items + [1]",
    "many lists": "many.map(x, [1,2,3,4,5,6,7,8,9,10])",
    "many maps": "many.map(x, {'a': x, 'b': x, 'c': x})",
    "equality of lists": "words.map(x, items == copy)",
    "equality of long strings": "many.map(x, huge == twin)",
    "order of long strings": "many.map(x, huge < twin)",
    "equality of deep values": "deep == deep_twin",
    "in a list": "words.map(x, 'no' in items)",
    "in a map of numbers": "many.map(x, 19999 in numbers)",
    "search": "words.map(x, a.contains(half))",
    "search of long strings": "words.map(x, huge.contains('ab'))",
    "starts with": "many.map(x, huge.startsWith(twin))",
    "split": "commas.split(',')",
    "split to characters": "full.split('')",
    "split in a loop": "words.map(x, half.split('b'))",
    "replace growing": "full.replace('a', 'aaaaaaaa')",
    "replace with long": "commas.replace(',', full)",
    "replace nothing": "full.replace('', full)",
    "replace in a loop": "words.map(x, full.replace('a', 'b'))",
    "join": "words.map(x, full).join(full)",
    "join growing": "many.filter(x, x < 10000).map(x, full).join('')",
    "upper growing": "sharp.upper() + sharp.upper()",
    "upper in a loop": "words.map(x, full.upper())",
    "trim in a loop": "many.map(x, full.trim())",
    "json of a long list": "words.map(x, json(items))",
    "json of long strings": "json(words.map(x, full))",
    "json of a deep value": "json(deep)",
    "json of json": "xs.map(x, json(json(full)))",
    "json of shared parts": "json([items, items].map(x, [items, items].map(y, items)))",
    "parse deep json": "parse_json(deep_json)",
    "parse a long list": "parse_json(long_json)",
    "parse many lists": "parse_json(lists_json)",
    "parse in a loop": "words.map(x, parse_json('[' + words.join(',').replace('word', '1') + ']'))",
    "result of shared parts": "words.map(x, items)",
    "result of long strings": "words.map(x, full)",
    "result of a large map": "[table, table]",
    "pattern over long text": "words.map(x, huge.matches('(a|aa)+$b'))",
    "catastrophic pattern": "many.map(x, a.matches('^(([a-z])+.)+[A-Z]([a-z])+$'))",
    "nested repetition": "words.map(x, full.matches('(a*)*(a*)*(a*)*b'))",
    "counted repetition": "words.map(x, full.matches('(a{1,100}){1,9}b'))",
    "counted wildcard": "words.map(x, full.matches('.{0,500}x.{0,500}y'))",
    "large patterns": r"many.map(x, 'a'.matches(string(x) + '\\pL\\pL\\pL\\pL\\pL\\pL\\pL'))",
    "too large patterns": r"many.all(x, 'a'.matches(string(x) + '\\pL{1,900}'))",
    "repetitions": "many.exists(x, 'a'.matches(string(x) + 'a{900}b{900}c{900}d{900}'))",
    "repeated classes": r"many.map(x, 'a'.matches(string(x) + '\\pL{7}'))",
    "folded classes": r"many.map(x, 'a'.matches(string(x) + '(?i)\\pL{3}'))",
    "folded ranges": "many.map(x, 'a'.matches(string(x) + '(?i)[à-ῼ]{10}'))",
    "repeated wildcard": "many.exists(x, 'a'.matches(string(x) + '.{900}'))",
    "repeated open": "many.exists(x, 'a'.matches(string(x) + '.{900,}'))",
    "many patterns": "many.map(x, 'a'.matches(string(x) + '[a-z]{1,200}'))",
    "timestamps": "many.map(x, timestamp('2020-01-01T00:00:00Z') + days(x))",
    "zones": "many.map(x, date(timestamp(x), 'Europe/Berlin'))",
    "sums": "words.map(x, sum(items))",
    "extremes": "words.map(x, max(items) + min(items))",
    "conversions": "many.map(x, double(string(x * 1.5)) + round(x * 1.5, 3))",
}

COMPILE_TIME: Final[dict[str, str]] = {
    "parentheses": "(" * 4_096,
    "closed parentheses": "(" * 2_000 + "1" + ")" * 2_000,
    "brackets": "[" * 4_096,
    "closed brackets": "[" * 2_000 + "]" * 2_000,
    "braces": "{" * 4_096,
    "nested maps": "{1:" * 1_000 + "1" + "}" * 1_000,
    "indexes": "a[" * 2_000,
    "index chain": "a" + "[0]" * 1_300,
    "field chain": "a" + ".b" * 2_000,
    "call chain": "a" + ".b()" * 1_000,
    "calls": "f(" * 2_000,
    "separated signs": "-(" * 2_000 + "1",
    "conditions inside": "(true?" * 600 + "1" + ":2)" * 600,
    "relations": "a<" * 2_000 + "a",
    "macros": "[1].map(a," * 400,
    "source of 5 KiB": "1" + " " * 5_000,
    "source of 1 MiB": "a+" * 524_288 + "a",
    "wide source": "'" + "\N{GRINNING FACE}" * 1_100 + "'",
}
