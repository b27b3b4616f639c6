"""What Segue costs, next to the limit, to the peers and to its goals: `python tests/bench`.

All sides of a figure are measured in this one run, in alternating rounds; each is the median of its
rounds' medians. Prints a table as it goes; the full run writes RESULTS.md and RESULTS.svg too.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # `python tests/bench` puts only this folder
sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from tests.bench import (
    append,
    contention,
    disk_size,
    find_resumable,
    idle_wakeups,
    load_events,
    open_session,
    peers,
    pipelined_append,
    report,
    round_trip,
    session_length,
    startup,
)
from tests.bench.measure import FULL, QUICK, FindResult, Row, Sizes

GROUPS: dict[str, Callable[[Sizes, Path], Iterator[FindResult]]] = {
    "startup": startup.measure,
    "round_trip": round_trip.measure,
    "append": append.measure,
    "pipelined_append": pipelined_append.measure,
    "session_length": session_length.measure,
    "contention": contention.measure,
    "find_resumable": find_resumable.measure,
    "open_session": open_session.measure,
    "load_events": load_events.measure,
    "disk_size": disk_size.measure,
    "idle_wakeups": idle_wakeups.measure,
}


def main() -> None:
    """Measure everything, or the groups that are named, and print the table."""
    parser = argparse.ArgumentParser("python tests/bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="NAME", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: to try it")
    parser.add_argument("--install", action="store_true", help="install the peers, and end")
    given = parser.parse_args()
    if unknown := set(given.groups) - set(GROUPS):
        parser.error(f"there is no {', '.join(unknown)}")
    if given.install:
        peers.install()
        return
    sizes = QUICK if given.quick else FULL
    command = " ".join(["python tests/bench", *["--quick"][: given.quick], *given.groups])
    facts = report.facts(sizes)
    _say(f"`{command}`\n\n{facts}\n")
    begin = time.monotonic()
    found = list(_measured(given.groups or list(GROUPS), sizes))
    seconds = time.monotonic() - begin
    _say(report.summary(found, seconds))
    if not given.quick and not given.groups:
        report.write(command, facts, found, seconds)


def _measured(groups: list[str], sizes: Sizes) -> Iterator[FindResult]:
    _say(report.TABLE)
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as folder:
        for group in groups:
            for each in GROUPS[group](sizes, Path(folder)):
                if isinstance(each, Row):
                    _say(report.line(each))
                yield each


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
