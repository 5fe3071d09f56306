"""The product's own workflows replay what they once did."""

from pathlib import Path

import pytest
from temporalio.worker import Replayer

from tests.kit.histories import read
from tests.kit.own_histories import own_histories
from workflows.bulk import Bulk
from workflows.gate import Gate
from workflows.retention import Retention
from workflows.setup import DATA_CONVERTER
from workflows.worker_options import sandbox


def test_each_has_a_history() -> None:
    assert {"bulk", "gate", "retention"} <= {path.stem for path in own_histories()}


@pytest.mark.parametrize("path", own_histories(), ids=lambda path: path.stem)
async def test_its_history_replays(path: Path) -> None:
    replayer = Replayer(
        workflows=[Bulk, Gate, Retention], workflow_runner=sandbox(), data_converter=DATA_CONVERTER
    )
    await replayer.replay_workflow(read(path))
