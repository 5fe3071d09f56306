"""Jumps of clocks, and when a schedule is due around them: worked out by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import Client


def moment(text: str) -> datetime:
    """Read an RFC 3339 time."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Transition:
    """A cron around a jump: the due times in (begin, end] with `dst: skip` and with `once`."""

    zone: str
    cron: str
    begin: datetime
    end: datetime
    skip: list[datetime]
    once: list[datetime]

    def __str__(self) -> str:
        return f"{self.zone}-{self.begin:%Y-%m}-{self.cron.replace(' ', '_')}"


def _case(zone: str, cron: str, begin: str, end: str, *times: str) -> Transition:
    """Times with `!` are due with `dst: once` alone."""
    every = [moment(f"{time.strip('!')}:00Z") for time in times]
    skip = [moment(f"{time}:00Z") for time in times if not time.startswith("!")]
    return Transition(zone, cron, moment(f"{begin}:00Z"), moment(f"{end}:00Z"), skip, every)


TRANSITIONS = [
    # Berlin, 2026-03-29 02:00 -> 03:00 (+1 to +2).
    _case("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00", "2026-03-30T12:00",
          "2026-03-28T01:30", "!2026-03-29T01:00", "2026-03-30T00:30"),
    # What is skipped falls on a time that is due anyway: one run.
    _case("Europe/Berlin", "0,30 2,3 * * *", "2026-03-29T00:00", "2026-03-29T12:00",
          "2026-03-29T01:00", "2026-03-29T01:30"),
    # Berlin, 2026-10-25 03:00 -> 02:00.
    _case("Europe/Berlin", "30 2 * * *", "2026-10-24T00:00", "2026-10-26T12:00",
          "2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"),
    _case("Europe/Berlin", "0 * * * *", "2026-10-24T22:30", "2026-10-25T03:00",
          "2026-10-24T23:00", "2026-10-25T00:00", "2026-10-25T02:00", "2026-10-25T03:00"),
    # New York, 2026-03-08 02:00 -> 03:00 (-5 to -4), and back on 2026-11-01.
    _case("America/New_York", "15 2 * * *", "2026-03-07T00:00", "2026-03-09T12:00",
          "2026-03-07T07:15", "!2026-03-08T07:00", "2026-03-09T06:15"),
    _case("America/New_York", "30 1 * * *", "2026-10-31T00:00", "2026-11-02T12:00",
          "2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30"),
    # Beirut, 2026-03-29 00:00 -> 01:00 (+2 to +3): Sunday has no midnight.
    _case("Asia/Beirut", "0 0 * * *", "2026-03-27T12:00", "2026-03-30T12:00",
          "2026-03-27T22:00", "!2026-03-28T22:00", "2026-03-29T21:00"),
    # Beirut, 2026-10-25 00:00 -> 23:00 of Saturday: its last hour comes twice, midnight once.
    _case("Asia/Beirut", "0 0 * * *", "2026-10-23T12:00", "2026-10-26T12:00",
          "2026-10-23T21:00", "2026-10-24T22:00", "2026-10-25T22:00"),
    _case("Asia/Beirut", "45 23 * * *", "2026-10-23T12:00", "2026-10-26T12:00",
          "2026-10-23T20:45", "2026-10-24T20:45", "2026-10-25T21:45"),
    # Asuncion, 2023-10-01 00:00 -> 01:00 (-4 to -3), and back on 2024-03-24 at midnight.
    _case("America/Asuncion", "0 0 * * *", "2023-09-30T00:00", "2023-10-02T12:00",
          "2023-09-30T04:00", "!2023-10-01T04:00", "2023-10-02T03:00"),
    _case("America/Asuncion", "0 0 * * *", "2024-03-22T12:00", "2024-03-25T12:00",
          "2024-03-23T03:00", "2024-03-24T04:00", "2024-03-25T04:00"),
    _case("America/Asuncion", "30 23 * * *", "2024-03-22T12:00", "2024-03-25T12:00",
          "2024-03-23T02:30", "2024-03-24T02:30", "2024-03-25T03:30"),
    # Lord Howe, half an hour: 2026-10-04 02:00 -> 02:30 (+10:30 to +11), 2026-04-05 back.
    _case("Australia/Lord_Howe", "10 2 * * *", "2026-10-02T18:00", "2026-10-04T18:00",
          "!2026-10-03T15:30", "2026-10-04T15:10"),
    _case("Australia/Lord_Howe", "45 1 * * *", "2026-04-03T18:00", "2026-04-05T18:00",
          "2026-04-04T14:45", "2026-04-05T15:15"),
    # St John's, 2026-11-01 02:00 -> 01:00 (-2:30 to -3:30).
    _case("America/St_Johns", "15 1 * * *", "2026-10-31T00:00", "2026-11-02T12:00",
          "2026-10-31T03:45", "2026-11-01T03:45", "2026-11-02T04:45"),
    # Apia left out the whole of Friday, 2011-12-30 (-10 to +14).
    _case("Pacific/Apia", "0 8 * * *", "2011-12-29T12:00", "2012-01-01T12:00",
          "2011-12-29T18:00", "!2011-12-30T10:00", "2011-12-30T18:00", "2011-12-31T18:00"),
]  # fmt: skip


async def matching(client: Client, identity: str, begin: datetime, end: datetime) -> list[datetime]:
    """Ask Temporal when a schedule is due in [begin, end]."""
    request = ListScheduleMatchingTimesRequest(
        namespace=client.namespace,
        schedule_id=identity,
        start_time=_stamp(begin),
        end_time=_stamp(end),
    )
    answer = await client.workflow_service.list_schedule_matching_times(request)
    return [stamp.ToDatetime(UTC) for stamp in answer.start_time]


def _stamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
