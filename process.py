"""What every process of Sojourn does alike: signals, the event loop, logs and the exit code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn

from settings import Settings, SettingsError, load_settings
from telemetry import configure_logging

Serve = Callable[[Settings], Coroutine[Any, Any, None]]


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to the process it is a part of."""

    def capture_signals(self) -> AbstractContextManager[None]:
        """Capture none."""
        return nullcontext()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)


def run_process(name: str, settings: Settings, serve: Serve) -> None:
    """Run a process to its end and leave with its code: 0 after a stop, 1 after a failure.

    It leaves with `os._exit`: the interpreter's finalisation now and then crashes with Temporal's
    threads still there.
    """
    configure_logging(settings)
    code = 0
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings))
    except Exception:
        logging.getLogger(f"sojourn.{name}").critical("the %s died", name, exc_info=True)
        code = 1
    logging.shutdown()
    os._exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def main_of(name: str, serve: Serve) -> None:
    """Run a process with the settings of the environment; says what is wrong with them."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    run_process(name, settings, serve)
