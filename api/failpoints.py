"""Named points at which a test may have the process die, as `kill -9` would at that very moment.

Without the environment variable `SOJOURN_FAILPOINTS` they do nothing. It names a directory: the
process that gets to a point and can remove the file of that name from there ends itself.
"""

import os
from pathlib import Path
from typing import Literal

Point = Literal[
    "before_commit",
    "after_commit",
    "before_start",
    "after_start",
    "before_response",
    "dispatcher_claim",
    "dispatcher_start",
    "dispatcher_mark",
]
EXIT_CODE = 86
_FOLDER = os.environ.get("SOJOURN_FAILPOINTS")


def reach(point: Point) -> None:
    """Die here if a test has armed the point."""
    if _FOLDER is None:
        return
    try:
        (Path(_FOLDER) / point).unlink()
    except FileNotFoundError:
        return
    os._exit(EXIT_CODE)
