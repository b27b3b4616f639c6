"""Fault programmes for schemas that others made, with their negative controls."""

import sys
from pathlib import Path

import pytest

from tests.faults import foreign_schema
from tests.faults.runner import Guard, run_programme, run_without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
SEED = 1054
"""With it, each kind of harm that a control must see is among those that are tried."""

EXACT_SCHEMA = Guard(
    file="store/sqlite/schema.py",
    code="        _check_definitions(rows, version, path)\n",
    replacement="        pass\n",
)
TIME_LIMIT = Guard(
    file="store/sqlite/driver.py",
    code="        return time.thread_time() > self.end\n",
    replacement="        return False\n",
)


def test_a_foreign_schema_is_refused_in_time_and_left() -> None:
    report = run_programme("foreign_schema", seed=SEED)

    assert report.broken == []
    assert report.counts["databases"] == foreign_schema.TRIED["short"] + len(foreign_schema.LATER)


@pytest.mark.parametrize(
    ("guard", "promises"),
    [
        pytest.param(
            EXACT_SCHEMA,
            {foreign_schema.REFUSED, foreign_schema.KEPT, foreign_schema.UNCHANGED},
            id="any schema",
        ),
        pytest.param(TIME_LIMIT, {foreign_schema.IN_TIME}, id="no limit of time"),
    ],
)
def test_control_foreign_schema(guard: Guard, promises: set[str], tmp_path: Path) -> None:
    report = run_without(guard, "foreign_schema", tmp_path, seed=SEED)

    assert report.violations.keys() >= promises
