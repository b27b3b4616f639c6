"""Fill the disk of a real server to different degrees, free it again, and check that it recovers.

The disk is a small tmpfs. Without the right to mount one, the report's count `skipped` says why.
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
CYCLES_PER_SERVER = 5
DISK_BYTES = 48 * 1024 * 1024
STEP_BYTES = 4096
MAX_APPENDS = 500
"""Enough to fill a disk that is nearly full, whatever space is free in the store's own files."""

SIZES = (0, 3_000, 30_000)
WRONG_ERROR = "a full disk is reported as another error than StorageFull"
UNFILLED = "the disk never became full"
UNREADABLE = "stored events cannot be read while the disk is full"
NOT_RECOVERED = "the server does not work after space was freed"


class CannotMountError(Exception):
    """No tmpfs can be mounted on this machine."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a folder that is a disk of DISK_BYTES."""
    folder.mkdir()
    options = f"size={DISK_BYTES},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "segue-faults", str(folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise CannotMountError(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Window:
    """A client whose server's disk is filled and freed repeatedly."""

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

    def run(self, steps: list[int]) -> None:
        """For each step, leave that many STEP_BYTES free, append until full, and free the disk."""
        for step in steps:
            self._fill(step * STEP_BYTES)
            self._append_until_full()
            self._ballast.unlink()
            self._append_after_recovery()
            self._report.count("cycles")
        self._client.shutdown()
        sessions = [(self._session, [self._ledger])]
        ledger.check_database(self._report, self._database, sessions)
        shutil.rmtree(self._folder)

    def _fill(self, leave: int) -> None:
        free = shutil.disk_usage(self._ballast.parent).free
        with open(self._ballast, "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free - leave)

    def _append_until_full(self) -> None:
        for _ in range(MAX_APPENDS):
            self._ledger.send(self._rng.randint(1, 3))
            if not self._append_all():
                break
        else:
            self._report.expect(False, UNFILLED)
        if self._ledger.acknowledged:
            self._read()

    def _append_all(self) -> bool:
        """Send what was not acknowledged; return whether all of it was stored."""
        try:
            self._session = self._session or self._open()
            for batch in self._ledger.unacknowledged():
                self._append(batch)
        except RequestError as error:
            self._report.count("errors on a full disk")
            expected = error.kind == "StorageFull"
            self._report.expect(expected, WRONG_ERROR, f"{error.kind} {error.message}")
            return False
        return True

    def _open(self) -> str:
        opened = self._client.request("session/open", {"mode": "new"})
        return str(opened["session"]["sessionId"])

    def _append(self, batch: Batch) -> None:
        events = [ledger.event_json(name, size_of(name)) for name in batch]
        params = {"sessionId": self._session, "events": events}
        appended = self._client.request("session/append", params)
        self._ledger.acknowledge((event["id"], event["seq"]) for event in appended["events"])
        self._report.count("acknowledged", len(batch))

    def _read(self) -> None:
        try:
            self._client.request("session/events", {"sessionId": self._session, "limit": 1})
        except RequestError as error:
            self._report.expect(False, UNREADABLE, f"{error.kind} {error.message}")

    def _append_after_recovery(self) -> None:
        try:
            self._session = self._session or self._open()
            for batch in self._ledger.unacknowledged():
                self._append(batch)
        except RequestError as error:
            self._report.expect(False, NOT_RECOVERED, f"{error.kind} {error.message}")


def size_of(name: str) -> int:
    """Return the size of an event. It depends only on *name*: a retry has the same content."""
    return random.Random(name).choice(SIZES)


def run(report: Report, rng: random.Random) -> None:
    """Fill the disk at every step, with a new server and database after CYCLES_PER_SERVER steps."""
    steps = list(range(CYCLES[report.size]))
    rng.shuffle(steps)
    with ledger.folder_on_disk() as folder:
        try:
            with small_disk(folder / "disk") as disk:
                while steps and not report.broken:
                    Window(report, disk, rng).run(steps[:CYCLES_PER_SERVER])
                    del steps[:CYCLES_PER_SERVER]
        except CannotMountError as error:
            report.counts["skipped"] = str(error)


if __name__ == "__main__":
    main(run)
