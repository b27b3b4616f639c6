"""Remove, move and replace the files of a store that servers have open, or had when killed.

What is acknowledged after the harm must be in the file that the path names. Where only the log, its
index or a lock was taken away, nothing that was acknowledged before may be lost either.
"""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from segue.cli.client import Client, RequestError
from segue.store.sqlite import backup, driver
from tests.faults import ledger
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import open_new, silent_stderr

ROUNDS: dict[Size, int] = {"short": 1, "long": 40}
APPENDS = 8
ATTEMPTS = 5
"""How often a client tries: the first time it may be told that the files were replaced."""

NOT_STORED = "the store does not work after its files were replaced"
UNNOTICED = "events from before are missing, and no client was told that the files were replaced"


def _remove(*suffixes: str) -> Callable[[Path, Path], None]:
    def remove(database: Path, copy: Path) -> None:
        for suffix in suffixes:
            Path(f"{database}{suffix}").unlink()

    return remove


def _move_database(database: Path, copy: Path) -> None:
    database.rename(f"{database}.moved")


def _move_folder(database: Path, copy: Path) -> None:
    database.parent.rename(database.parent.with_name("moved"))


def _replace_by_copy(database: Path, copy: Path) -> None:
    copy.rename(database)


def _overwrite_by_copy(database: Path, copy: Path) -> None:
    shutil.copyfile(copy, database)  # as `cp` does: the file keeps its inode


def _replace_log(database: Path, copy: Path) -> None:
    Path(f"{database}-wal").unlink()
    Path(f"{database}-wal").touch(0o600)


HARMS: dict[str, Callable[[Path, Path], None]] = {
    "database removed": _remove(""),
    "all files removed": _remove("", "-wal", "-shm"),
    "database moved": _move_database,
    "folder moved": _move_folder,
    "database replaced by a copy": _replace_by_copy,
    "database overwritten by a copy": _overwrite_by_copy,
    "log and index removed": _remove("-wal", "-shm"),
}
"""After these the store is another one: what was acknowledged before is where it was moved to."""

HARMLESS: dict[str, Callable[[Path, Path], None]] = {
    "log removed": _remove("-wal"),
    "log replaced by an empty file": _replace_log,
    "index removed": _remove("-shm"),
    "write lock removed": _remove("-write.lock"),
    "open lock removed": _remove("-lock"),
}
"""After these nothing at all may be lost."""

AFTER_KILL = ("database removed", "database replaced by a copy", "database overwritten by a copy")
"""These are inflicted once more on what killed servers have left, with their log."""


class Window:
    """A server, the session that its client appends to, and the session's ledger."""

    def __init__(self, name: str, folder: Path, database: Path) -> None:
        self._name = name
        self._folder = folder
        self._database = database
        self._ledgers = 0
        self.notices = 0
        self._start()
        self._begin()

    def _start(self) -> None:
        self.client = Client(self._folder, {"SEGUE_DATABASE": str(self._database)})
        self.client.initialize()

    def _begin(self) -> None:
        self.forget()
        self.session = open_new(self.client)

    def forget(self) -> None:
        """Expect nothing of what was acknowledged until now."""
        self._ledgers += 1
        self.ledger = Ledger(f"{self._name}{self._ledgers}")

    def restart(self) -> None:
        """Start a new server, and open the session there, or a new one if it is gone."""
        self._start()
        for _ in range(ATTEMPTS):
            try:
                self.client.request("session/open", {"sessionId": self.session})
            except RequestError as error:
                self.notices += 1
                if error.kind == "SessionNotFound":
                    self._begin()
                    return
            else:
                return

    def append(self) -> bool:
        """Append an event, as a client does: again after a notice; return whether it is stored."""
        (name,) = self.ledger.send(1)
        for _ in range(ATTEMPTS):
            try:
                params = {"sessionId": self.session, "events": [ledger.event_json(name, 2_000)]}
                appended = self.client.request("session/append", params)
            except RequestError as error:
                self.notices += 1
                if error.kind in ("SessionNotFound", "HeadMoved"):
                    self._begin()  # the store at the path is another one now
                    (name,) = self.ledger.send(1)
                continue
            self.ledger.acknowledge((event["id"], event["seq"]) for event in appended["events"])
            return True
        return False


def _inflict(
    report: Report, name: str, folder: Path, rng: random.Random, *, killed: bool = False
) -> None:
    """Run one round of the harm *name*; with *killed*, the servers are killed before it."""
    database = folder / "data" / "sessions.db"
    windows = [Window(each, folder, database) for each in "ab"]
    copied_after = rng.randrange(1, APPENDS)
    copy = folder / "copy.db"
    for number in range(APPENDS):
        for window in windows:
            window.append()
        if number == copied_after:
            backup.back_up(str(database), str(copy))
            with contextlib.closing(driver.connect(str(database))) as db:
                driver.checkpoint_truncate(db)  # from here on the log has a part of the pages only
    before = [(window.session, set(window.ledger.acknowledged)) for window in windows]
    for window in windows:
        window.notices = 0
        if killed:
            window.client.kill()
        if name in HARMS:
            window.forget()
    (HARMS | HARMLESS)[name](database, copy)
    for window in windows if killed else ():
        window.restart()
    for _ in range(APPENDS):
        for window in windows:
            report.expect(window.append(), NOT_STORED, name)
    for window in windows:
        window.client.kill()
    told = any(window.notices for window in windows)
    report.expect(told or _has_all(database, before), UNNOTICED, name)
    sessions = [(window.session, [window.ledger]) for window in windows]
    ledger.check_database(report, database, sessions, name)
    report.count(f"{name}{' after a kill' if killed else ''}")
    report.count("acknowledged", sum(len(window.ledger.acknowledged) for window in windows))


def _has_all(database: Path, sessions: list[tuple[str, set[str]]]) -> bool:
    """Return whether every event that was acknowledged before the harm is served after it."""
    try:
        with contextlib.closing(driver.connect_to_read(str(database))) as db:
            return all(
                names <= {name for _, name in ledger.read_session(db, session).events}
                for session, names in sessions
            )
    except driver.Error:
        return False


def run(report: Report, rng: random.Random) -> None:
    """Run every harm in a store of its own, several times."""
    rounds = [(name, False) for name in (*HARMS, *HARMLESS)]
    rounds += [(name, True) for name in AFTER_KILL]
    for _ in range(ROUNDS[report.size]):
        for name, killed in rounds:
            with ledger.folder_on_disk() as folder, silent_stderr():
                _inflict(report, name, folder, rng, killed=killed)
            if report.broken:
                return


if __name__ == "__main__":
    main(run)
