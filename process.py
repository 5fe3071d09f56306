"""What every process of Sojourn does alike: signals, the event loop, logs and the exit code."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import uvicorn
import uvloop

from db.engine import Database
from schemas.errors import SojournError, UnavailableError
from settings import Settings, SettingsError, load_settings
from telemetry import configure_logging

# Seconds between two looks at the schema while PostgreSQL is away.
_LOOK_AGAIN = 2.0
Serve = Callable[[Settings], Coroutine[Any, Any, None]]


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to the process it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)


class SchemaWatch:
    """Refuses a database whose schema is not this program's, now or when it can be reached.

    An old process that starts again beside a newer schema would write what the new ones misread.
    """

    def __init__(self, database: Database, stop: asyncio.Event) -> None:
        """Look at `database`; `stop` is set when it turns out to be another version's."""
        self._database = database
        self._stop = stop
        self._waiting: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Look once; raises ConflictError. While PostgreSQL is away, go on looking meanwhile."""
        # Imported here: no command that only talks to the API needs it.
        from db.migrate import check_revision

        async def wait() -> None:
            try:
                while True:
                    await asyncio.sleep(_LOOK_AGAIN)
                    try:
                        return await check_revision(self._database)
                    except UnavailableError:
                        continue
            except SojournError:
                self._stop.set()
                raise

        try:
            await check_revision(self._database)
        except UnavailableError:
            self._waiting = asyncio.create_task(wait())

    async def end(self) -> None:
        """Stop looking; raises ConflictError where that is why the process stops."""
        if self._waiting is None:
            return
        self._waiting.cancel()
        with suppress(asyncio.CancelledError):
            await self._waiting


def run_process(name: str, settings: Settings, serve: Serve) -> None:
    """Run a process to its end and `leave` with its code: 0 after a stop, 1 after a failure."""
    configure_logging(settings)
    # What was imported stays for good. To walk through it again and again, at 0.2 s for each full
    # collection, would stop every workflow and request of this process for as long.
    gc.freeze()
    code = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except SystemExit as left:
        # uvicorn leaves like this when its port is taken; it has logged why.
        code = left.code if isinstance(left.code, int) else 1
    except SojournError as error:
        # Said on purpose: where it was raised tells nobody more.
        hint = f" ({error.hint})" if error.hint else ""
        logging.getLogger(f"sojourn.{name}").critical("the %s ends: %s%s", name, error, hint)
        code = 1
    except Exception:
        logging.getLogger(f"sojourn.{name}").critical("the %s died", name, exc_info=True)
        code = 1
    leave(code)


def leave(code: int) -> NoReturn:
    """End this process, which has used a Temporal client, with `code`.

    Not by Python's own finalisation: one of the client's threads may just then want the GIL, and
    Python aborts ("PyGILState_Release", exit code 134) after all the work is done.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main_of(name: str, serve: Serve) -> None:
    """Run a process with the settings of the environment; says what is wrong with them."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    run_process(name, settings, serve)
