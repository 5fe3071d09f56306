"""A stage for many cases: where the server gives no answer, a new one plays the case again.

The time-skipping server now and then refuses a workflow task (a timer that fires while it is being
cancelled, say) and never gives it out again; its time stands still from then on, and every run on
it hangs. That says nothing about the interpreter, so such a case has a second chance, alone.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from temporalio.service import RPCError

from tests.model.cases import MANY_ORDERS, Case
from tests.model.compare import differences
from tests.model.player import Player, playing
from tests.model.story import Story, Untestable

_log = logging.getLogger("sojourn.model")
_ABREAST = 6
# A server keeps every run that it has seen in memory.
_CASES_OF_A_SERVER = 1000
# Of real time, for the workers of a server that answers nobody to stop (s).
_FAREWELL = 60
Told = tuple[int, Case, Story]


@dataclass
class Verdicts:
    """How cases went: the differences by seed, and the seeds that twice got no answer.

    `again` are those that got none once; `open` those whose course the language leaves open after
    all, which the model's few orders had missed.
    """

    played: int = 0
    wrong: dict[int, list[str]] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)


class Stage:
    """Plays cases and compares them with what the model tells."""

    def __init__(self) -> None:
        """Plan a stage; its first server starts with its first case."""
        self._host: asyncio.Task[None] | None = None
        self._player: Player | None = None
        self._over = asyncio.Event()
        self._played = 0

    async def compare(self, told: list[Told]) -> Verdicts:
        """Play cases side by side, and those that got no answer once more, one by one."""
        found = Verdicts()
        waiting = list(told)
        while waiting:
            if self._played >= _CASES_OF_A_SERVER:
                await self.close()
            unsure = await self._side_by_side(waiting, found)
            if not unsure:
                continue
            seeds = [seed for seed, _, _ in unsure]
            _log.warning("no answer; a new server plays these seeds again: %s", seeds)
            found.again += seeds
            await self.close()
            for entry in unsure:
                if not await self._play(entry, found):
                    found.unanswered.append(entry[0])
                    await self.close()
        return found

    async def close(self) -> None:
        """Stop the server; the next case starts another."""
        host, self._host, self._player = self._host, None, None
        self._played = 0
        if host is None:
            return
        self._over.set()
        _, late = await asyncio.wait([host], timeout=_FAREWELL)
        if late:
            host.cancel()
        ended = (await asyncio.gather(host, return_exceptions=True))[0]
        if isinstance(ended, BaseException):
            # Its workers could not say good-bye to a server that has died.
            _log.warning("a server's end: %r", ended)

    async def _side_by_side(self, waiting: list[Told], found: Verdicts) -> list[Told]:
        """Play what waits until one gets no answer; gives all that were under way then."""
        running: dict[asyncio.Task[bool], Told] = {}
        unsure: list[Told] = []
        try:
            while (waiting or running) and not unsure:
                while waiting and len(running) < _ABREAST:
                    entry = waiting.pop(0)
                    running[asyncio.create_task(self._play(entry, found))] = entry
                ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    entry = running.pop(task)
                    if not task.result():
                        unsure.append(entry)
        finally:
            for task in running:
                task.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
        pairs = zip(running.values(), ends, strict=True)
        return unsure + [entry for entry, end in pairs if end is not True]

    async def _play(self, entry: Told, found: Verdicts) -> bool:
        """Play and compare one case; False if it got no answer."""
        seed, case, story = entry
        player = await self._ready()
        try:
            played = await player.play(case, story.ended)
        except (TimeoutError, RPCError) as error:
            _log.warning("seed %d got no answer: %r", seed, error)
            return False
        self._played += 1
        found.played += 1
        if wrong := differences(case, story, played):
            _log.warning("seed %d disagrees: %s", seed, "; ".join(wrong))
            if is_open(case):
                found.open.append(seed)
                _log.warning("seed %d: the order of simultaneous things decides", seed)
            else:
                found.wrong[seed] = wrong
        return True

    async def _ready(self) -> Player:
        if self._host is None:
            self._over = asyncio.Event()
            self._player = None
            self._host = asyncio.create_task(self._run_server(self._over))
        while self._player is None:
            if self._host.done():
                self._host.result()
            await asyncio.sleep(0.01)
        return self._player

    async def _run_server(self, over: asyncio.Event) -> None:
        """Keep a server in a task of its own: a worker that breaks cancels the task it is in."""
        async with playing() as player:
            self._player = player
            await over.wait()


def is_open(case: Case) -> bool:
    """Whether the language leaves the course of a case open after all: more orders may show it."""
    try:
        case.tell(MANY_ORDERS)
    except Untestable:
        return True
    return False
