"""Windows and wall-clock times over the jumps of clocks.

The expected moments were worked out by hand from the published rules of each zone: local time less
the offset in force. Nothing here computes them.
"""

from datetime import UTC, datetime

import pytest

from schemas import expressions
from schemas.errors import ExpressionError
from schemas.steps_wait import Window
from schemas.windows import describe, next_open

# zone, a window that meets the jump, the moment asked, the opening
WINDOWS = [
    # Berlin, 2026-03-29 02:00 -> 03:00 (+1 to +2): the opening is skipped, and comes with the jump.
    ("Europe/Berlin", "02:30", "05:00", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "09:00", "17:00", "2026-03-28T17:00:00Z", "2026-03-29T07:00:00Z"),
    # Berlin, 2026-10-25 03:00 -> 02:00: 02:30 comes twice.
    ("Europe/Berlin", "02:30", "02:45", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
    ("Europe/Berlin", "02:30", "02:45", "2026-10-25T00:50:00Z", "2026-10-25T01:30:00Z"),
    ("Europe/Berlin", "09:00", "17:00", "2026-10-24T16:00:00Z", "2026-10-25T08:00:00Z"),
    # New York, 2026-03-08 02:00 -> 03:00 (-5 to -4), a window inside the hour that is skipped.
    ("America/New_York", "02:10", "02:50", "2026-03-08T05:00:00Z", "2026-03-09T06:10:00Z"),
    ("America/New_York", "09:00", "17:00", "2026-03-07T23:00:00Z", "2026-03-08T13:00:00Z"),
    # New York, 2026-11-01 02:00 -> 01:00: the window that closed opens again.
    ("America/New_York", "00:30", "01:30", "2026-11-01T05:40:00Z", "2026-11-01T06:00:00Z"),
    ("America/New_York", "09:00", "17:00", "2026-10-31T22:00:00Z", "2026-11-01T14:00:00Z"),
    # Beirut, 2026-03-29 00:00 -> 01:00 (+2 to +3): Sunday has no midnight.
    ("Asia/Beirut", "00:00", "06:00", "2026-03-28T21:00:00Z", "2026-03-28T22:00:00Z"),
    ("Asia/Beirut", "00:30", "06:00", "2026-03-28T10:00:00Z", "2026-03-28T22:00:00Z"),
    # Beirut, 2026-10-25 00:00 -> 23:00 of Saturday: its last hour comes twice.
    ("Asia/Beirut", "23:30", "24:00", "2026-10-24T20:00:00Z", "2026-10-24T20:30:00Z"),
    ("Asia/Beirut", "23:30", "24:00", "2026-10-24T21:05:00Z", "2026-10-24T21:30:00Z"),
    ("Asia/Beirut", "00:00", "06:00", "2026-10-24T20:59:00Z", "2026-10-24T22:00:00Z"),
    # Asuncion, 2023-10-01 00:00 -> 01:00 (-4 to -3).
    ("America/Asuncion", "00:00", "05:00", "2023-10-01T03:30:00Z", "2023-10-01T04:00:00Z"),
    ("America/Asuncion", "09:00", "17:00", "2023-09-30T22:00:00Z", "2023-10-01T12:00:00Z"),
    # Asuncion, 2024-03-24 00:00 -> 23:00 of Saturday (-3 to -4).
    ("America/Asuncion", "23:15", "23:45", "2024-03-24T02:50:00Z", "2024-03-24T03:15:00Z"),
    ("America/Asuncion", "00:00", "05:00", "2024-03-24T02:30:00Z", "2024-03-24T04:00:00Z"),
    # Lord Howe, half an hour: 2026-10-04 02:00 -> 02:30 (+10:30 to +11), 2026-04-05 back.
    ("Australia/Lord_Howe", "02:15", "04:00", "2026-10-03T15:00:00Z", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "01:40", "01:50", "2026-04-04T14:55:00Z", "2026-04-04T15:10:00Z"),
    # St John's, 2026-03-08 02:00 -> 03:00 (-3:30 to -2:30), 2026-11-01 back.
    ("America/St_Johns", "02:00", "04:00", "2026-03-08T05:00:00Z", "2026-03-08T05:30:00Z"),
    ("America/St_Johns", "01:15", "01:20", "2026-11-01T04:00:00Z", "2026-11-01T04:45:00Z"),
    # Apia left out the whole of Friday, 2011-12-30 (-10 to +14).
    ("Pacific/Apia", "08:00", "12:00", "2011-12-30T08:00:00Z", "2011-12-30T18:00:00Z"),
]
# zone, wall clock, the first moment at which it shows that or more
WALLS = [
    ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30:00Z"),
    ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30:00Z"),
    ("Asia/Beirut", "2026-03-29T00:00", "2026-03-28T22:00:00Z"),
    ("Asia/Beirut", "2026-10-24T23:30", "2026-10-24T20:30:00Z"),
    ("Asia/Beirut", "2026-10-25T00:00", "2026-10-24T22:00:00Z"),
    ("America/Asuncion", "2023-10-01T00:00", "2023-10-01T04:00:00Z"),
    ("America/Asuncion", "2024-03-23T23:30", "2024-03-24T02:30:00Z"),
    ("America/Asuncion", "2024-03-24T00:00", "2024-03-24T04:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-04T02:10", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45:00Z"),
    ("America/St_Johns", "2026-03-08T02:30", "2026-03-08T05:30:00Z"),
    ("America/St_Johns", "2026-11-01T01:30", "2026-11-01T04:00:00Z"),
    ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z"),
    ("Europe/Berlin", "2026-06-01 09:00", "2026-06-01T07:00:00Z"),
    ("+02:00", "2026-06-01T09:00:30", "2026-06-01T07:00:30Z"),
]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(("zone", "opens", "closes", "asked", "expected"), WINDOWS)
def test_a_window_over_a_jump(
    zone: str, opens: str, closes: str, asked: str, expected: str
) -> None:
    window = Window.model_validate({"from": opens, "to": closes})
    found = next_open(window, zone, moment(asked))
    assert found == moment(expected)
    assert found.tzinfo is UTC
    assert next_open(window, zone, found) == found


@pytest.mark.parametrize(("zone", "wall", "expected"), WALLS)
def test_until_a_time_of_a_wall_clock(zone: str, wall: str, expected: str) -> None:
    given = {"input": {"at": wall, "zone": zone}}
    assert expressions.evaluate("timestamp(input.at, input.zone)", given) == moment(expected)


@pytest.mark.parametrize(
    ("given", "asked", "expected"),
    [
        # 2026-01-31 is a Saturday.
        ({"days": ["mon"]}, "2026-01-31T10:00:00Z", "2026-02-02T00:00:00Z"),
        ({"from": "09:00", "to": "17:00"}, "2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ({"from": "09:00", "to": "17:00"}, "2026-01-31T17:00:00Z", "2026-02-01T09:00:00Z"),
        ({"from": "09:00", "to": "17:00"}, "2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
        # Over midnight it belongs to the day on which it opens.
        (
            {"days": ["sat"], "from": "22:00", "to": "06:00"},
            "2026-02-01T05:59:00Z",
            "2026-02-01T05:59:00Z",
        ),
        (
            {"days": ["sun"], "from": "22:00", "to": "06:00"},
            "2026-02-01T05:59:00Z",
            "2026-02-01T22:00:00Z",
        ),
        ({"from": "08:00", "to": "08:00"}, "2026-01-31T03:00:00Z", "2026-01-31T03:00:00Z"),
    ],
)
def test_an_opening(given: dict[str, str], asked: str, expected: str) -> None:
    assert next_open(Window.model_validate(given), "UTC", moment(asked)) == moment(expected)


def test_a_window_on_a_day_that_a_zone_left_out() -> None:
    window = Window.model_validate({"days": ["fri"]})
    found = next_open(window, "Pacific/Apia", moment("2011-12-29T12:00:00Z"))
    # Thursday the 29th was followed by Saturday; the next Friday began at 10:00 UTC.
    assert found == moment("2012-01-05T10:00:00Z")


def test_a_zone_that_is_none() -> None:
    with pytest.raises(ExpressionError, match="unknown time zone"):
        next_open(Window(), "Europe/Nope", moment("2026-01-01T00:00:00Z"))
    with pytest.raises(ExpressionError):
        next_open(Window(), "../../etc/passwd", moment("2026-01-01T00:00:00Z"))


def test_a_window_in_words() -> None:
    days = ["mon", "tue", "wed", "thu", "fri"]
    window = Window.model_validate({"days": days, "from": "09:00", "to": "17:00"})
    assert describe(window, "Europe/Berlin") == "mon-fri 09:00-17:00 Europe/Berlin"
