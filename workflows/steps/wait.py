"""wait: a signal or an event, or any or all of several; also what came since the run started."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.subscriptions import Subscription, rendered_key
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas.durations import format_duration
    from schemas.errors import ErrorCode, LimitError, StepError
    from schemas.run import MAX_OUTPUT_BYTES, StepState, StepStatus
    from schemas.steps import Wait
    from schemas.steps_wait import Source

_TIMED_OUT = "timeout"


async def run(run: Execution, step: Wait, state: StepState, frame: Frame) -> Any:
    """Take the oldest signal or event of each source; gives its data.

    Of several sources that have something at the same moment the first in their order counts.
    Raises StepError (STEP_TIMEOUT) when nothing comes in time, unless `on_timeout` is `continue`.
    """
    if step.timeout is not None and state.until is None:
        state.until = run.after(step.timeout)
    if state.choice is None:
        waiting = _Waiting(run, step, state, frame)
        if await waiting.satisfied():
            output = waiting.output()
            state.data = None
            return output
        # A later entry must not look at what comes while the steps of `on_timeout` run.
        state.choice = _TIMED_OUT
        state.data = None
    return await _late(run, step, state, frame)


async def _late(run: Execution, step: Wait, state: StepState, frame: Frame) -> Any:
    if step.on_timeout == "continue":
        return None
    if isinstance(step.on_timeout, list):
        state.status, state.note = StepStatus.RUNNING, None
        return await run_list(run, step.on_timeout, frame)
    assert step.timeout is not None, "without a timeout the wait has no end but what it waits for"
    missing = _joined(step, [f"{kind} {name!r}" for kind, name in map(_named, step.sources())])
    raise StepError(
        f"no {missing} came within {format_duration(step.timeout)}",
        code=ErrorCode.STEP_TIMEOUT,
    )


class _Waiting:
    """One entry of the step; what it has taken lies in `state.data`, for a later entry.

    That is {keys: [rendered key or null], got: {place of the source: data}}.
    """

    def __init__(self, run: Execution, step: Wait, state: StepState, frame: Frame) -> None:
        self._run = run
        self._step = step
        self._state = state
        self._frame = frame
        self._sources = step.sources()
        self._asked: dict[int, Subscription] = {}
        if state.data is None:
            keys = [
                rendered_key(run, one.key, frame) if one.key else None for one in step.sources()
            ]
            state.data = {"keys": keys, "got": {}}
        self._got: dict[str, Any] = state.data["got"]

    async def satisfied(self) -> bool:
        """Wait for what is needed; False at the deadline. Raises Quiesce."""
        run, state = self._run, self._state
        try:
            await self._subscribe()
            note: str | None = None
            while True:
                await self._look()
                if self._done():
                    return True
                if note != (note := self._note()):
                    await run.waiting(state, note)
                if not await run.wait(self._ready, state.until, self._summary()):
                    return False
        finally:
            for asked in self._asked.values():
                asked.close()

    def output(self) -> Any:
        """Give the data as the step's output shows them."""
        if self._step.all is not None:
            return [self._got[str(index)] for index in range(len(self._sources))]
        index = min(int(place) for place in self._got)
        data = self._got[str(index)]
        if self._step.any is None:
            return data
        source = self._sources[index]
        return {"index": index, "source": source.signal or source.event, "data": data}

    async def _subscribe(self) -> None:
        """Ask for the events of every open source, and read what has come."""
        path, several = self._state.path, len(self._sources) > 1
        for index, source in enumerate(self._sources):
            if source.event is None or str(index) in self._got:
                continue
            key: str = self._state.data["keys"][index]
            place = f"{path}.sources[{index}]" if several else path
            asked = Subscription(self._run, place, path, source.event, key, source.where)
            self._asked[index] = asked
            await asked.open()

    async def _look(self) -> None:
        """Take what has come, source by source, until nothing more is needed."""
        for index, source in enumerate(self._sources):
            if str(index) in self._got:
                continue
            if source.signal is not None:
                if box := self._run.state.mailbox.get(source.signal):
                    self._keep(index, box.pop(0))
                    if not box:
                        del self._run.state.mailbox[source.signal]
            else:
                event = await self._asked[index].next(self._frame)
                if event is not None:
                    self._asked.pop(index).close()
                    self._keep(index, event.data)
            if self._done():
                return

    def _keep(self, index: int, data: Any) -> None:
        self._got[str(index)] = data
        if self._step.all is None:
            return
        size = len(to_json(self._got))
        if size > MAX_OUTPUT_BYTES:
            raise LimitError(
                f"the data have {size} bytes together; the limit is {MAX_OUTPUT_BYTES}"
            )

    def _done(self) -> bool:
        needed = len(self._sources) if self._step.all is not None else 1
        return len(self._got) >= needed

    def _ready(self) -> bool:
        box = self._run.state.mailbox
        signals = [self._sources[place].signal for place in self._open()]
        return any(box.get(name) for name in signals if name is not None) or any(
            asked.ready() for asked in self._asked.values()
        )

    def _open(self) -> list[int]:
        return [place for place in range(len(self._sources)) if str(place) not in self._got]

    def _summary(self) -> str:
        names = [" ".join(_named(self._sources[place])) for place in self._open()]
        return self._step.title or f"{self._step.id}: {_joined(self._step, names)}"

    def _note(self) -> str:
        names: list[str] = []
        for place in self._open():
            kind, name = _named(self._sources[place])
            key = self._state.data["keys"][place]
            names.append(f"the {kind} {name!r}" + (f" of {key!r}" if key is not None else ""))
        limit = f", at most {format_duration(self._step.timeout)}" if self._step.timeout else ""
        return f"waits for {_joined(self._step, names)}{limit}"


def _named(source: Source) -> tuple[str, str]:
    if source.signal is not None:
        return "signal", source.signal
    assert source.event is not None, "a source is a signal or an event"
    return "event", source.event


def _joined(step: Wait, names: list[str]) -> str:
    return (" and " if step.all is not None else " or ").join(names)
