"""When schedules are due, over the jumps of clocks, and what a schedule may say.

The expected moments were worked out by hand from the published rules of each zone: local time less
the offset in force. Nothing here computes them.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.cron import parse_cron
from schemas.due_times import (
    JUMP,
    TWICE,
    due_times,
    first_due,
    is_due,
    next_due,
    skipped_walls,
)
from schemas.schedules import ScheduleTrigger, schedule_view
from schemas.trigger_checks import find_trigger_problems
from schemas.triggers import ScheduledTrigger
from tests.kit.schedules import TRANSITIONS, Transition, moment

TEXT = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text()


def schedule(**given: Any) -> ScheduleTrigger:
    return ScheduleTrigger.model_validate(given)


@pytest.mark.parametrize("case", TRANSITIONS, ids=str)
@pytest.mark.parametrize("dst", ["skip", "once"])
def test_a_local_time_runs_once_or_is_skipped(case: Transition, dst: str) -> None:
    config = schedule(cron=case.cron, timezone=case.zone, dst=dst)
    found = [due.time for due in due_times(config, case.begin, case.end)]
    assert found == (case.skip if dst == "skip" else case.once)
    assert len({config.slot(time) for time in found}) == len(found)


def test_two_showings_of_a_time_have_one_slot() -> None:
    config = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    first, second = moment("2026-10-25T00:30:00Z"), moment("2026-10-25T01:30:00Z")
    assert config.slot(first) == config.slot(second) == "Europe/Berlin/2026-10-25T02:30"
    interval = schedule(every="1h", offset="30m", timezone="Europe/Berlin")
    assert interval.slot(first) != interval.slot(second)


def test_what_summer_time_does_is_said() -> None:
    config = schedule(cron="30 2 * * *", timezone="Europe/Berlin", dst="once")
    spring = first_due(config, moment("2026-03-28T12:00:00Z"), 2)
    assert [due.note for due in spring] == [JUMP, None]
    autumn = first_due(config, moment("2026-10-24T12:00:00Z"), 2)
    assert [due.note for due in autumn] == [TWICE, None]
    skipping = config.model_copy(update={"dst": "skip"})
    begin, end = moment("2026-03-28T12:00:00Z"), moment("2026-03-30T12:00:00Z")
    assert skipped_walls(skipping, begin, end) == [datetime(2026, 3, 29, 2, 30)]  # noqa: DTZ001
    assert skipped_walls(config, begin, end) == []


def test_intervals_count_from_the_epoch() -> None:
    config = schedule(every="15m", offset="5m")
    found = first_due(config, moment("2026-03-29T00:58:00Z"), 3)
    assert [f"{due.time:%H:%M}" for due in found] == ["01:05", "01:20", "01:35"]


def test_start_and_end_count() -> None:
    config = schedule(
        cron="0 * * * *", start_at="2026-01-01T02:00:00Z", end_at="2026-01-01T04:00:00Z"
    )
    found = list(due_times(config, moment("2025-01-01T00:00:00Z")))
    assert [due.time.hour for due in found] == [2, 3, 4]
    assert next_due(config, moment("2026-01-01T04:00:00Z")) is None


def test_a_due_time_is_later_than_the_moment() -> None:
    config = schedule(cron="0 * * * *")
    assert next_due(config, moment("2026-01-01T02:00:00Z")) == moment("2026-01-01T03:00:00Z")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/20 9-10 * * *", ["05T09:00", "05T09:20", "05T09:40", "05T10:00"]),
        ("0 0 13 * FRI", ["09T00:00", "13T00:00", "16T00:00", "23T00:00"]),
        ("0 12 * * 7", ["11T12:00", "18T12:00", "25T12:00", "01T12:00"]),
        ("5/25 8 6,8 JAN-MAR *", ["06T08:05", "06T08:30", "06T08:55", "08T08:05"]),
        ("0 0 */10 * 1", ["11T00:00", "01T00:00", "31T00:00", "21T00:00"]),
        ("0 3 29 2 *", ["29T03:00", "29T03:00", "29T03:00", "29T03:00"]),
        ("@monthly", ["01T00:00", "01T00:00", "01T00:00", "01T00:00"]),
    ],
)
def test_cron_reads_as_crontab_does(cron: str, expected: list[str]) -> None:
    found = first_due(schedule(cron=cron), moment("2026-01-05T08:00:00Z"), 4)
    assert [f"{due.time:%dT%H:%M}" for due in found] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "0 to 59"),
        ("* 24 * * *", "0 to 23"),
        ("* * 0 * *", "1 to 31"),
        ("* * * 13 *", "1 to 12"),
        ("* * * * 8", "0 to 7"),
        ("* * * FOO *", "not a month"),
        ("*/0 * * * *", "1 or more"),
        ("*/x * * * *", "no step"),
        ("5-1 * * * *", "backwards"),
        ("1,,2 * * * *", "not a minute"),
        ("0 0 30 2 *", "no month"),
        ("0 0 31 2,4,6 *", "no month"),
        ("\u0661 * * * *", "not a minute"),
        ("* * * * MON#2", "not a weekday"),
        ("* * L * *", "not a day"),
    ],
)
def test_a_wrong_cron_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_cron(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either 'cron' or 'every'"),
        ({"cron": "* * * * *", "every": "1m"}, "either 'cron' or 'every'"),
        ({"every": "0s"}, "must be from"),
        ({"every": "1500ms"}, "whole number of seconds"),
        ({"every": "1m", "offset": "1m"}, "must be shorter"),
        ({"cron": "* * * * *", "offset": "1m"}, "belongs to 'every'"),
        ({"every": "1m", "catchup": "8d"}, "must be from"),
        ({"every": "1m", "catchup": "1s"}, "must be from"),
        ({"every": "1m", "jitter": "2d"}, "must be from"),
        ({"every": "1m", "timezone": "Europe/Atlantis"}, "unknown time zone"),
        ({"every": "1m", "timezone": "+02:00"}, "unknown time zone"),
        ({"every": "1m", "start_at": "2026-01-01T00:00:00"}, "timezone"),
        (
            {"every": "1m", "start_at": "2026-01-02T00:00:00Z", "end_at": "2026-01-01T00:00:00Z"},
            "before 'start_at'",
        ),
        ({"every": "1m", "overlap": "terminate"}, "skip"),
        ({"every": "1m", "dst": "twice"}, "skip"),
        ({"every": "1m", "colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_schedule_says_what_is_wrong(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        schedule(**given)


def test_around_a_jump_temporal_is_checked() -> None:
    config = schedule(cron="10 2 * * *", timezone="Australia/Lord_Howe")
    assert not is_due(config, moment("2026-10-03T15:40:00Z"))  # 02:40, the day of the jump
    assert is_due(config, moment("2026-10-04T15:10:00Z"))
    assert is_due(config, moment("2026-06-01T11:11:11Z"))  # fired by hand
    once = config.model_copy(update={"dst": "once"})
    assert is_due(once, moment("2026-10-03T15:30:00Z"))
    assert not is_due(config, moment("2026-10-03T15:30:00Z"))
    assert is_due(schedule(every="7s"), moment("2026-10-03T15:40:00Z"))


def test_what_expressions_see() -> None:
    config = schedule(cron="30 9 * * *", timezone="America/New_York")
    view = schedule_view("t", config, datetime(2026, 7, 1, 13, 30, tzinfo=UTC))
    assert view == {
        "id": "t",
        "time": "2026-07-01T13:30:00Z",
        "local_time": "2026-07-01T09:30:00-04:00",
    }


def test_it_survives_storing() -> None:
    config = schedule(every="90m", offset="10m", start_at="2026-01-02T00:00:00Z", jitter="30s")
    assert schedule(**config.model_dump(mode="json")) == config
    assert config.every == timedelta(minutes=90)


def test_the_reference_names_every_field_and_its_examples_are_valid() -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", TEXT))))
    assert set(ScheduledTrigger.model_fields) - {"kind", "enabled"} - words == set()
    for example in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL):
        given = ScheduledTrigger.model_validate_json(example)
        assert find_trigger_problems(None, given.input, {"type": "object"}, given.SCOPE) == []
