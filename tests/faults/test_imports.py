"""Imports that are killed, and their negative control."""

from pathlib import Path

from tests.faults import import_crash
from tests.faults.runner import Guard, run_programme, run_without

SAME_FORK = Guard(
    file="model/replicas.py",
    code='return str(uuid.uuid5(_FORKS, f"{session_id}/{at}/{first}"))',
    replacement="return str(uuid.uuid4())",
)


def test_killed_imports_leave_what_one_import_gives() -> None:
    report = run_programme("import_crash")

    assert report.broken == []
    assert report.counts["kills"] > 5
    assert report.counts["forks"] > 5


def test_control_import_crash_with_another_fork_each_time(tmp_path: Path) -> None:
    assert import_crash.SAME in run_without(SAME_FORK, "import_crash", tmp_path).violations
