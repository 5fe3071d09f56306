"""The inbox: an event counts once, whichever way and however often it comes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.run import MAX_EVENTS, Event, RunState
from workflows import inbox as module
from workflows.inbox import Inbox


def event(seq: int | None, *, kind: str = "paid", key: str = "k", data: Any = None) -> Event:
    return Event(id=f"e{seq}", type=kind, key=key, seq=seq, data=data)


@pytest.fixture
def state() -> RunState:
    return RunState(started_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def no_workflow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logger of a workflow speaks inside one only."""
    said: list[str] = []

    class Logger:
        def warning(self, message: str, **_: Any) -> None:
            said.append(message)

    monkeypatch.setattr(module.workflow, "logger", Logger())
    return said


def kept(state: RunState) -> list[int | None]:
    return [one.seq for one in state.inbox]


def test_an_event_that_comes_both_ways_is_kept_once(state: RunState) -> None:
    inbox = Inbox(state)
    inbox.receive(event(5))
    inbox.receive(event(5))
    assert inbox.receive_page([event(3), event(5)]) == 2
    inbox.receive(event(3))
    assert kept(state) == [3, 5]


def test_an_event_that_was_taken_never_comes_again(state: RunState) -> None:
    inbox = Inbox(state)
    inbox.receive(event(5))
    inbox.take(state.inbox[0])
    inbox.receive(event(5))
    assert (kept(state), state.taken) == ([], ["5"])
    inbox.receive_page([event(5), event(6)])
    assert (kept(state), state.taken) == ([6], [])
    inbox.take(state.inbox[0])
    # The place up to which all was heard tells as much, so that the list stays short.
    assert state.taken == []
    inbox.receive(event(6))
    inbox.receive(event(5))
    assert kept(state) == []
    again = Inbox(RunState.model_validate_json(state.model_dump_json()))
    again.receive(event(6))
    assert again.first(lambda _: True) is None


def test_signals_may_overtake_one_another(state: RunState) -> None:
    inbox = Inbox(state)
    for seq in (4, 2, 3):
        inbox.receive(event(seq))
    assert kept(state) == [2, 3, 4]


def test_what_is_put_back_is_there_again(state: RunState) -> None:
    inbox = Inbox(state)
    inbox.receive_page([event(1), event(2), event(3)])
    second = state.inbox[1]
    inbox.take(second)
    inbox.put_back(second)
    assert (kept(state), state.taken) == ([1, 2, 3], [])


def test_a_full_inbox_displaces_what_nobody_wants(state: RunState, no_workflow: list[str]) -> None:
    inbox = Inbox(state)
    for seq in range(1, MAX_EVENTS + 1):
        inbox.receive(event(seq, key="other"))

    def wants(one: Event) -> bool:
        return one.key == "k"

    inbox.wanting(wants)
    inbox.receive(event(MAX_EVENTS + 1))
    assert inbox.first(wants) == event(MAX_EVENTS + 1)
    assert (len(state.inbox), state.inbox[0].seq) == (MAX_EVENTS, 2)
    assert no_workflow == ["inbox full, event displaced"]


def test_a_wanted_event_stays_and_the_store_is_asked_again(state: RunState) -> None:
    inbox = Inbox(state)
    inbox.wanting(lambda _: True)
    large = "x" * 200_000
    assert inbox.receive_page([event(seq, data=large) for seq in (1, 2, 3)]) == 2
    assert state.heard == {"paid k": 2}
    inbox.receive(event(4, data=large))
    assert (kept(state), inbox.missed) == ([1, 2], {"paid k"})


def test_observers_see_every_event_before_it_can_be_taken(state: RunState) -> None:
    inbox = Inbox(state)
    seen: list[int | None] = []
    inbox.observers.append(lambda one: seen.append(one.seq))
    inbox.receive(event(1))
    inbox.receive(event(1))
    inbox.receive_page([event(1), event(2)])
    assert seen == [1, 2]
