"""Fill the disk under the real server, each time at another step, and make room again.

The disk is a small tmpfs, which needs the right to mount; where there is none the report says so.
"""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from segue.cli.client import Client, RequestError
from tests.faults import ledger
from tests.faults.ledger import Batch, Ledger
from tests.faults.runner import Report, Size, main

CYCLES: dict[Size, int] = {"short": 20, "long": 500}
CYCLES_OF_A_SERVER = 5
DISK = 48 * 1024 * 1024
STEP = 4096
MOST = 500
"""So many appends fill any disk that is nearly full, whatever was free in the store's files."""

SIZES = (0, 3_000, 30_000)
UNTYPED = "a full disk has another answer than StorageFull"
UNFILLED = "the disk never became full"
UNREAD = "what is stored cannot be read while the disk is full"
STUCK = "the server does not go on when there is room again"


class CannotMountError(Exception):
    """There is no small disk to be had here."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a folder that is a small disk."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "segue-faults", str(folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise CannotMountError(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Window:
    """A client whose server's disk is filled and emptied again and again."""

    def __init__(self, report: Report, disk: Path, rng: random.Random) -> None:
        self._report = report
        self._ballast = disk / "ballast"
        self._folder = disk / "data"
        self._database = self._folder / "sessions.db"
        self._rng = rng
        self._ledger = Ledger("window")
        self._session = ""
        self._client = Client(disk.parent, {"SEGUE_DATABASE": str(self._database)})
        self._client.initialize()

    def live(self, steps: list[int]) -> None:
        """Fill the disk once for each step, so that so much is free at first, and free it again."""
        for step in steps:
            self._fill(step * STEP)
            self._append_until_full()
            self._ballast.unlink()
            self._go_on()
            self._report.count("cycles")
        self._client.shutdown()
        sessions = [(self._session, [self._ledger])]
        ledger.check_database(self._report, self._database, sessions)
        shutil.rmtree(self._folder)

    def _fill(self, room: int) -> None:
        free = shutil.disk_usage(self._ballast.parent).free
        with open(self._ballast, "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free - room)

    def _append_until_full(self) -> None:
        for _ in range(MOST):
            self._ledger.send(self._rng.randint(1, 3))
            if not self._append_all():
                break
        else:
            self._report.expect(False, UNFILLED)
        if self._ledger.places:
            self._read()

    def _append_all(self) -> bool:
        """Send what was not acknowledged; tell whether all of it was stored now."""
        try:
            self._session = self._session or self._open()
            for batch in self._ledger.unacknowledged():
                self._append(batch)
        except RequestError as error:
            self._report.count("times that it was full")
            right = error.kind == "StorageFull"
            self._report.expect(right, UNTYPED, f"{error.kind} {error.message}")
            return False
        return True

    def _open(self) -> str:
        opened = self._client.request("session/open", {"mode": "new"})
        return str(opened["session"]["sessionId"])

    def _append(self, batch: Batch) -> None:
        events = [ledger.wire(name, size_of(name)) for name in batch]
        params = {"sessionId": self._session, "events": events}
        appended = self._client.request("session/append", params)
        self._ledger.acknowledge((event["id"], event["seq"]) for event in appended["events"])
        self._report.count("acknowledged", len(batch))

    def _read(self) -> None:
        try:
            self._client.request("session/events", {"sessionId": self._session, "limit": 1})
        except RequestError as error:
            self._report.expect(False, UNREAD, f"{error.kind} {error.message}")

    def _go_on(self) -> None:
        try:
            self._session = self._session or self._open()
            for batch in self._ledger.unacknowledged():
                self._append(batch)
        except RequestError as error:
            self._report.expect(False, STUCK, f"{error.kind} {error.message}")


def size_of(name: str) -> int:
    """Return the size of an event: a retry says the same once more."""
    return random.Random(name).choice(SIZES)


def run(report: Report, rng: random.Random) -> None:
    """Fill the disk at every step, with a new server and a new database every few of them."""
    steps = list(range(CYCLES[report.size]))
    rng.shuffle(steps)
    with ledger.on_disk() as folder:
        try:
            with small_disk(folder / "disk") as disk:
                while steps and not report.broken:
                    Window(report, disk, rng).live(steps[:CYCLES_OF_A_SERVER])
                    del steps[:CYCLES_OF_A_SERVER]
        except CannotMountError as error:
            report.counts["skipped"] = str(error)


if __name__ == "__main__":
    main(run)
