"""Runs the fault programmes in their long size: `python -m tests.faults [NAME …]`.

Runs those that are named, or all, one after the other, and writes each report into
`tests/faults/RESULTS.json` with its seed, the commit and the versions. The results of programmes
that are not run are kept. Exits with 1 if a promise was broken.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys
from typing import Any

from segue.store.sqlite import driver
from tests.faults.runner import HERE, ROOT, Report, run_programme

RESULTS = HERE / "RESULTS.json"
PROGRAMMES = (
    "server_crash",
    "store_crash",
    "power_loss",
    "io_errors",
    "disk_full",
    "contention",
    "service_model",
    "replication",
    "frame_fuzzing",
    "backpressure",
    "server_exit",
    "no_resources",
    "stalled_mount",
    "json_roundtrip",
    "clock_skew",
    "files_replaced",
    "damaged_log",
    "stopped_process",
    "corruption",
    "migrations",
    "recovery_crash",
    "import_crash",
    "search_index",
    "foreign_files",
    "foreign_schema",
    "postgres_storm",
    "postgres_lost_answers",
    "postgres_cancelled",
    "postgres_silent",
    "postgres_isolation",
    "postgres_errors",
    "postgres_no_statistics",
    "postgres_replication",
)


def main(names: list[str]) -> int:
    """Run the named programmes, or all; return the exit code."""
    if unknown := set(names) - set(PROGRAMMES):
        sys.exit(f"no such programme: {', '.join(unknown)}; there are {', '.join(PROGRAMMES)}")
    reports = [run(name) for name in names or PROGRAMMES]
    return 1 if any(report.broken for report in reports) else 0


def run(name: str) -> Report:
    """Run one programme in its long size, print a summary and store its report."""
    print(f"{name} …", flush=True)  # noqa: T201  the output of a command
    report = run_programme(name, size="long")
    found = "; ".join(report.broken) or "no promise broken"
    print(f"{name}: {report.seconds:.0f} s, seed {report.seed}: {found}", flush=True)  # noqa: T201  as above
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = dataclasses.asdict(report) | environment()
    ordered = {each: results[each] for each in PROGRAMMES if each in results}
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n")
    return report


def environment() -> dict[str, Any]:
    """Return the commit, the versions and the system that a report was made with."""
    commit = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "commit": done.stdout.strip(),
        "sqlite": f"{driver.VERSION} ({driver.NAME})",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
