"""CPU time and memory of process trees."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """Give the CPU time, in seconds, of processes, their living children and those reaped."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        own = process.cpu_times()
        total += own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it ended meanwhile: its parent has its time now
            total += times.user + times.system
    return total


def resident_mib(pid: int) -> float:
    """Give the resident memory of one process in MiB."""
    return psutil.Process(pid).memory_info().rss / 2**20


def _machine_busy() -> float:
    # Guests' time is in `user` already.
    idle = ("idle", "iowait", "guest", "guest_nice")
    times = psutil.cpu_times()._asdict()
    return sum(seconds for name, seconds in times.items() if name not in idle)


@dataclass(frozen=True)
class Usage:
    """What a stretch of time cost, in seconds; `foreign_cores` were busy with other programs."""

    wall: float
    worker: float
    servers: float
    foreign_cores: float

    @property
    def total(self) -> float:
        """The CPU time of worker, Temporal and PostgreSQL."""
        return self.worker + self.servers


class Meter:
    """Measures from its making on; the driver and the HTTP target count as neither side's."""

    def __init__(self, worker: list[int], servers: list[int]) -> None:
        self._worker = worker
        self._servers = servers
        self._start = self._now()

    def _now(self) -> tuple[float, float, float, float, float]:
        return (
            time.perf_counter(),
            cpu_seconds(self._worker),
            cpu_seconds(self._servers),
            _machine_busy(),
            cpu_seconds([os.getpid()]),
        )

    def read(self) -> Usage:
        """Give the usage so far."""
        wall, worker, servers, busy, own = (
            now - then for now, then in zip(self._now(), self._start, strict=True)
        )
        return Usage(wall, worker, servers, max(0.0, (busy - own) / wall))

    @classmethod
    def of_servers(cls, servers: list[int]) -> Self:
        """Measure the servers alone."""
        return cls([], servers)
