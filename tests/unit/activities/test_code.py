import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from activities._sandbox import MAX_KEPT_PRINTS, find_syntax_fault
from activities.code import CodeParams, code
from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import Registry
from activities.services import Services
from schemas.errors import ErrorCode
from schemas.validation import find_problems

# What got out of the sandboxes of others: attribute walks, format strings, exceptions' frames,
# generators' frames, import hooks, pickles, decorators, code objects.
ESCAPES = [
    "().__class__.__bases__[0].__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()[104].__init__.__globals__['sys']",
    "'{0.__class__.__init__.__globals__}'.format(print)",
    "'{0.__class__.__mro__}'.format(1)",
    "'{0[0].__class__}'.format([1])",
    "f'{().__class__.__bases__}'",
    "__import__('os').system('id')",
    "__builtins__",
    "__builtins__.__import__('os')",
    "globals()['__builtins__']",
    "__loader__.load_module('os')",
    "import importlib\nimportlib.import_module('os')",
    "import ctypes",
    "import builtins\nbuiltins.open('/etc/passwd')",
    "import sys\nsys.modules['os']",
    "import sys\nsys._getframe()",
    "import inspect\ninspect.currentframe()",
    "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'id'\\ntR.\")",
    "try:\n    1/0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_globals",
    "try:\n    ''.nope\nexcept AttributeError as e:\n    e.obj.__class__.__base__.__subclasses__()",
    "(lambda: 0).__globals__",
    "(lambda: 0).__code__.co_consts",
    "(x for x in [1]).gi_frame.f_back",
    "print.__self__",
    "[].append.__self__.__class__.__base__",
    "getattr((), '__cla' + 'ss__')",
    "getattr(getattr(1, '__cl'+'ass__'), '__ba'+'se__')",
    "type('X', (object,), {})().__class__.__subclasses__()",
    "type(1).__subclasses__(type)",
    "class A:\n    def __getattr__(self, n):\n        return A\nA().x.__globals__",
    "compile('1', 'a', 'eval').co_code",
    "exec(\"import os\\nos.system('id')\")",
    "eval(\"open('/etc/passwd').read()\")",
    "vars(__builtins__)",
    "object.__subclasses__()",
    "def f():\n    pass\nf.__globals__",
    "breakpoint()",
    "help()",
    "memoryview(b'').__class__.__init__",
]
FORBIDDEN = [
    "open('/etc/passwd').read()",
    "open('/tmp/written', 'w').write('x')",
    "from pathlib import Path\nPath('/etc/passwd').read_text()",
    "from pathlib import Path\nlist(Path('/').iterdir())",
    "import os\nos.listdir('/')",
    "import os\nos.getenv('PATH')",
    "import os\nos.environ['PATH']",
    "import os\nos.system('id')",
    "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    "import http.client",
    "import subprocess",
    "import threading",
    "import multiprocessing",
    "import asyncio\nasyncio.sleep(3)",
    "import time\ntime.sleep(3)",
    "input()",
]
BOMBS = [
    "while True: pass",
    "def f(): return f()\nf()",
    "x = []\nwhile True: x.append('a' * 1000000)",
    "'a' * 10**10",
    "9 ** 9 ** 9",
    "[None] * 10**8",
    "list(range(10**12))",
    "sum(range(10**12))",
    "x = 'a' * 1000\nfor i in range(12): x = [x] * 10\nstr(x)",
    "x = 'a' * 1000\nfor i in range(12): x = [x] * 10\nprint(x)",
    "x = 'a' * 9\ny = 'a' * 9\nfor i in range(14):\n    x = [x] * 10\n    y = [y] * 10\nx == y",
    "raise ValueError('a' * 30_000_000)",
    "for i in range(10**7): print('x' * 100)",
    "x = []\nfor i in range(200_000): x = [x]\nx",
    "(" * 5000 + ")" * 5000,
]


async def run(context: ActionContext, source: str, **params: Any) -> Any:
    given = CodeParams.model_validate({"source": source, **params})
    return (await code(given, context)).result


async def refusal(context: ActionContext, source: str, **params: Any) -> ActionError:
    with pytest.raises(ActionError) as raised:
        await run(context, source, **params)
    assert raised.value.code == ErrorCode.CODE_ERROR
    assert not raised.value.retryable
    assert len(raised.value.message) < 1200
    return raised.value


async def test_a_program_goes_from_json_to_json(context: ActionContext) -> None:
    source = """
def priced(item):
    return item['price'] * item.get('count', 1)

print('items:', len(items))
{'total': sum(priced(i) for i in items), 'names': sorted(i['name'] for i in items), 'none': None}
"""
    items = [{"name": "b", "price": 2.5}, {"name": "ä", "price": 1, "count": 3}]
    done = await code(CodeParams(source=source, inputs={"items": items}), context)
    assert done.result == {"total": 5.5, "names": ["b", "ä"], "none": None}
    assert done.logs == ["items: 2"]


async def test_a_return_and_a_date_are_results(context: ActionContext) -> None:
    assert await run(context, "if n > 1:\n    return 'many'\n'few'", inputs={"n": 2}) == "many"
    assert await run(context, "import datetime\ndatetime.date(2026, 1, 2)") == "2026-01-02"
    assert await run(context, "x = 1") is None


@pytest.mark.parametrize("source", ESCAPES)
async def test_known_escapes_end_in_an_error(context: ActionContext, source: str) -> None:
    await refusal(context, source)


@pytest.mark.parametrize("source", FORBIDDEN)
async def test_files_and_networks_are_not_there(context: ActionContext, source: str) -> None:
    await refusal(context, source)


@pytest.mark.parametrize("source", BOMBS)
async def test_bombs_end_within_the_limits(context: ActionContext, source: str) -> None:
    began = time.monotonic()
    await refusal(context, source, time_limit="300ms")
    assert time.monotonic() - began < 2.5
    # The process of the bomb is gone, and the next program has one of its own.
    assert await run(context, "1 + 1") == 2


async def test_the_loop_turns_while_a_program_runs(context: ActionContext) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    beside = asyncio.create_task(turn())
    await refusal(context, "while True: pass", time_limit="500ms")
    beside.cancel()
    assert turns > 10


@pytest.mark.parametrize(
    "source", ["{1, 2}", "{1: 2}", "b'a'", "1j", "2 ** 64", "float('nan')", "class A: pass\nA()"]
)
async def test_what_is_no_json_is_said(context: ActionContext, source: str) -> None:
    assert "not JSON" in (await refusal(context, source)).message


@pytest.mark.parametrize(
    "source",
    [
        "x = 'a' * 1000\nfor i in range(12): x = [x] * 10\nx",
        "x = {}\nfor i in range(40): x = {'a': x, 'b': x}\nx",
        "'a' * 1_000_000",
    ],
)
async def test_a_result_that_unfolds_is_counted(context: ActionContext, source: str) -> None:
    # Of this process: the program's own is bounded by its limits, and others may be busy.
    began = time.process_time()
    with pytest.raises(ActionError, match="262,144 bytes") as raised:
        await run(context, source)
    assert raised.value.code == ErrorCode.LIMIT_EXCEEDED
    assert time.process_time() - began < 2


async def test_prints_are_cut(context: ActionContext) -> None:
    params = CodeParams(source="for i in range(2000): print('x' * 99)")
    lines = (await code(params, context)).logs
    assert sum(len(line) + 1 for line in lines[:-1]) <= MAX_KEPT_PRINTS + 1
    assert lines[-1] == "(cut: 200,000 bytes were printed, 65,536 are kept)"


async def test_an_error_has_its_line_and_what_was_printed(context: ActionContext) -> None:
    error = await refusal(context, "print('so far')\nb = 0\n1 / b")
    assert error.message == "line 3: ZeroDivisionError: division by zero"
    assert error.details == {"error": "ZeroDivisionError", "line": 3, "logs": ["so far"]}


async def test_nothing_stays_for_the_next_program(context: ActionContext) -> None:
    await run(context, "left = 1\n1")
    await refusal(context, "left")


async def test_a_cancelled_program_leaves_no_process(context: ActionContext) -> None:
    task = asyncio.create_task(run(context, "while True: pass", time_limit="20s"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await run(context, "2") == 2


async def test_a_step_without_time_left_says_so(context: ActionContext) -> None:
    short = replace(context, timeout=timedelta(seconds=0.3))
    with pytest.raises(ActionError) as raised:
        await run(short, "while True: pass", time_limit="20s")
    assert raised.value.code == ErrorCode.STEP_TIMEOUT


async def test_the_operator_can_switch_it_off(context: ActionContext) -> None:
    off = replace(context, services=Services(code_enabled=False))
    with pytest.raises(ActionError) as raised:
        await run(off, "1")
    assert raised.value.code == ErrorCode.FORBIDDEN


def test_syntax_is_read_without_running_anything() -> None:
    assert find_syntax_fault("while True: pass") is None
    fault = find_syntax_fault("a = 1\nb = = 2")
    assert fault is not None
    assert fault.line == 2
    unknown = find_syntax_fault("def f():\n    yield 1")
    assert unknown is not None
    assert "yield" in unknown.message


def definition(source: str, **more: Any) -> dict[str, Any]:
    step = {"id": "calc", "type": "code", "with": {"source": source, **more}}
    return {"name": "calc", "input": {"type": "object"}, "steps": [step]}


def test_publishing_refuses_programs_that_cannot_run(registry: Registry) -> None:
    assert find_problems(definition("n + 1", inputs={"n": 1}), registry) == []
    assert find_problems(definition("{{ input.program }}"), registry) == []
    (fault,) = find_problems(definition("x = ("), registry)
    assert fault.path == "steps[0].with.source"
    assert "line 1" in fault.message
    (mixed,) = find_problems(definition("x = {{ input.x }}\n{{ input.y }}"), registry)
    assert "inputs" in (mixed.hint or "")
