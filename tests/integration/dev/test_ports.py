"""Ports that somebody else has, or is about to have."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dev.errors import StackError
from dev.ports import PortClaims, any_port
from dev.postgres import EmbeddedPostgres
from dev.temporal import TemporalServer


@pytest.fixture
def claims() -> Iterator[tuple[PortClaims, PortClaims]]:
    both = PortClaims(), PortClaims()
    yield both
    for each in both:
        each.release()


def test_a_claimed_port_is_nobody_elses(claims: tuple[PortClaims, PortClaims]) -> None:
    first, second = claims
    mine = first.pick(any_port())
    assert first.pick(mine) != mine
    assert second.pick(mine) != mine
    first.release()
    assert second.pick(mine) == mine


def test_all_claimed_is_an_error(claims: tuple[PortClaims, PortClaims]) -> None:
    first, second = claims
    only = first.pick(any_port())
    with pytest.raises(StackError, match=f"no free port from {only} to {only}"):
        second.pick(only, span=1)


@pytest.mark.parametrize("server", [EmbeddedPostgres, TemporalServer])
def test_another_server_on_the_port_is_not_taken_for_ours(
    server: type[EmbeddedPostgres] | type[TemporalServer], tmp_path: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        ours = server(tmp_path / "server", port=other.getsockname()[1])
        with pytest.raises(StackError, match="ended with code"):
            ours.start()
    assert not ours.running
