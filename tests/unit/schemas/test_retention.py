"""What can be pruned is there: every subject's table has the columns that pruning reads."""

import pytest

from db.metadata import metadata
from schemas.retention import SUBJECTS, Subject


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_a_subject_names_a_table_with_its_age(subject: Subject) -> None:
    table = metadata.tables.get(subject.table)
    assert table is not None, f"{subject.table} is no table; take the subject out"
    assert {"workspace", subject.age} <= set(table.columns.keys())
    assert subject.days is None or subject.days >= subject.least
