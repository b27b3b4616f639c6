"""The whole programme in its long size: `python -m tests.faults [NAME …]`.

Runs every programme, or those that are named, one after the other, and writes what each counted
into `tests/faults/RESULTS.json`: with its seed, so that it can be replayed, the commit, and the
versions. The results of programmes that are not run now stay. Exits with 1 if a promise was broken.
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
    "frame_fuzzing",
    "backpressure",
    "server_exit",
    "json_roundtrip",
    "clock_skew",
    "corruption",
    "migrations",
)


def main(names: list[str]) -> int:
    """Run the named programmes, or all; return the exit code."""
    if unknown := set(names) - set(PROGRAMMES):
        sys.exit(f"no such programme: {', '.join(unknown)}; there are {', '.join(PROGRAMMES)}")
    reports = [run(name) for name in names or PROGRAMMES]
    return 1 if any(report.broken for report in reports) else 0


def run(name: str) -> Report:
    """Run one programme in its long size, say what came of it, and keep that."""
    print(f"{name} …", flush=True)  # noqa: T201
    report = run_programme(name, size="long")
    found = "; ".join(report.broken) or "nothing broken"
    print(f"{name}: {report.seconds:.0f} s, seed {report.seed}: {found}", flush=True)  # noqa: T201
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = dataclasses.asdict(report) | setting()
    ordered = {each: kept[each] for each in PROGRAMMES if each in kept}
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n")
    return report


def setting() -> dict[str, Any]:
    """Return what a report was made with."""
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
