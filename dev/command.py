"""`sojourn dev` from its start to its exit code."""

import asyncio

import uvloop
from rich.console import Console

from dev.demo import Demo
from dev.errors import StackError
from dev.stack import Options, Stack
from process import leave, stop_on_signals
from settings import SettingsError


def run(options: Options, *, demo: bool) -> None:
    """Run the stack until Ctrl-C or SIGTERM; leaves the process: 0, or 1 with what is wrong."""
    console = Console(highlight=False, soft_wrap=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(options, console, demo=demo))
    leave(code)


async def _run(options: Options, console: Console, *, demo: bool) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    show = Demo(console)
    stack = Stack(
        options,
        say=lambda line: console.print(line, markup=False),
        on_mail=show.show_mail if demo else None,
    )
    try:
        # Not cancelled while it starts servers: what has been started must be known to be stopped.
        await stack.start()
        if not stop.is_set():
            _announce(stack, console)
            await _until_stopped(stack, stop, show if demo else None, console)
        return 0
    except (StackError, SettingsError) as error:
        _explain(error)
        return 1
    finally:
        console.print("stopping")
        await stack.stop()


def _announce(stack: Stack, console: Console) -> None:
    for name, url in stack.urls.items():
        console.print(f"  {name:<16} [link={url}]{url}[/link]")
    console.print(f"  {'API key':<16} {stack.key}")
    console.print(f"  {'Settings':<16} {stack.home.env_file}")
    console.print("[bold green]ready[/] (Ctrl-C stops everything; runs go on at the next start)")


async def _until_stopped(
    stack: Stack, stop: asyncio.Event, show: Demo | None, console: Console
) -> None:
    watching = asyncio.create_task(stack.watch())
    stopping = asyncio.create_task(stop.wait())
    showing = asyncio.create_task(_show(stack, show, console)) if show is not None else None
    tasks = {task for task in (watching, stopping, showing) if task is not None}
    try:
        while not stopping.done():
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (watching, stopping, showing):
            if task is not None:
                task.cancel()


async def _show(stack: Stack, show: Demo, console: Console) -> None:
    async with stack.api() as api:
        status = await show.run(api)
    console.print(f"the demo's run is {status}; everything stays up until Ctrl-C")


def _explain(error: StackError | SettingsError) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(
        f"sojourn dev cannot run: {error}"
    )
    hint = getattr(error, "hint", None)
    if hint:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(f"hint: {hint}")
