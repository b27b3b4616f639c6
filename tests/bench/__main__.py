"""Measures what Segue costs, beside baselines, peers and goals: `python tests/bench`.

All figures of a row are measured in one run, in alternating rounds; each is the median of its
rounds' medians. Prints the table while it measures; a full run also writes RESULTS.md and
RESULTS.svg. `compare.py` measures two checkouts against each other.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # `python tests/bench` adds its own folder only
sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from tests.bench import (
    acp,
    against,
    append,
    contention,
    disk_size,
    find_resumable,
    follow,
    fork,
    hook,
    idle_wakeups,
    import_beside_windows,
    importing,
    load_events,
    open_session,
    peers,
    pipelined_append,
    postgres,
    report,
    round_trip,
    search,
    session_length,
    startup,
)
from tests.bench.measure import FULL, QUICK, Result, Row, Sizes

GROUPS: dict[str, Callable[[Sizes, Path], Iterator[Result]]] = {
    "startup": startup.measure,
    "round_trip": round_trip.measure,
    "append": append.measure,
    "pipelined_append": pipelined_append.measure,
    "session_length": session_length.measure,
    "contention": contention.measure,
    "find_resumable": find_resumable.measure,
    "open_session": open_session.measure,
    "fork": fork.measure,
    "load_events": load_events.measure,
    "disk_size": disk_size.measure,
    "idle_wakeups": idle_wakeups.measure,
    "import": importing.measure,
    "import_beside_windows": import_beside_windows.measure,
    "hook": hook.measure,
    "acp": acp.measure,
    "search": search.measure,
    "follow": follow.measure,
    "postgres": postgres.measure,
    "postgres_search": postgres.measure_search,
}


def main() -> None:
    """Measure all groups, or those named on the command line, and print the table."""
    parser = argparse.ArgumentParser("python tests/bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds")
    parser.add_argument("--install", action="store_true", help="install the peers, then exit")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="compare the SQLite server with its, too"
    )
    options = parser.parse_args()
    if options.against is not None:
        GROUPS["against"] = partial(against.measure, options.against.resolve())
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"unknown group: {', '.join(sorted(unknown))}")
    if options.install:
        peers.install()
        return
    sizes = QUICK if options.quick else FULL
    groups = list(GROUPS)
    if options.groups:
        groups = [*options.groups, *(["against"] if options.against is not None else [])]
    command = " ".join(["python tests/bench", *["--quick"][: options.quick], *options.groups])
    if options.against is not None:
        command += f" --against {report.describe_commit(options.against)}"
    facts = report.describe_run(sizes)
    report.print_line(f"`{command}`\n\n{facts}\n")
    begin = time.monotonic()
    results = list(_measure(groups, sizes))
    seconds = time.monotonic() - begin
    report.print_line(report.format_summary(results, seconds))
    if not options.quick and not options.groups:
        report.write_results(command, facts, results, seconds)


def _measure(groups: list[str], sizes: Sizes) -> Iterator[Result]:
    report.print_line(report.TABLE_HEADER)
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as folder:
        for group in groups:
            for result in GROUPS[group](sizes, Path(folder)):
                if isinstance(result, Row):
                    report.print_line(report.format_row(result))
                yield result


if __name__ == "__main__":
    main()
