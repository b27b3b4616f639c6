"""What Segue costs, as ratios: `python tests/bench` prints a table that can be pasted in a README.

Both sides of every ratio are measured in this one run, in alternating rounds; each figure is the
median of its rounds' medians. `--quick` shows in seconds that everything runs, and proves nothing.
"""

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # `python tests/bench` puts only this folder

from segue.storage import library
from tests.bench import appending, finding, opening, starting
from tests.bench.measuring import FULL, QUICK, Sizes


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser("python tests/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: to try it")
    quick = parser.parse_args().quick
    _say(f"`python tests/bench{' --quick' if quick else ''}` on {_machine()}:\n")
    _say("| question | measured | against | ratio | goal |\n|---|---|---|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as folder:
        _run(QUICK if quick else FULL, Path(folder))


def _run(sizes: Sizes, folder: Path) -> None:
    for measure in (appending.measure, finding.measure, opening.measure, starting.measure):
        for row in measure(sizes, folder):
            _say(str(row))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, {python}, "
        f"SQLite {library.VERSION} ({library.NAME}), synchronous=FULL"
    )


if __name__ == "__main__":
    main()
