"""The replacement of a database by another file, and what a loss of power may leave of it."""

import itertools
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver, replacement
from segue.store.sqlite.locks import OpenLock

OLD, LOG, NEW = b"the old database", b"its log", b"the new database"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of a database with a log."""
    path = tmp_path / "sessions.db"
    path.write_bytes(OLD)
    path.with_name("sessions.db-wal").write_bytes(LOG)
    return path


@pytest.fixture
def open_lock(database: Path) -> Iterator[OpenLock]:
    lock = OpenLock(str(database))
    lock.share()
    yield lock
    lock.close()


def replace(database: Path) -> str | None:
    with replacement.working_folder(str(database)) as folder:
        new = Path(folder, "made")
        new.write_bytes(NEW)
        return replacement.replace(str(database), str(new), "replaced")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a database's folder by its name, without times."""
    return {
        re.sub(r"\.replaced-\w+", ".replaced", each.name): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and not each.name.endswith("-lock")
    }


def is_whole(folder: Path) -> bool:
    """Return whether the folder has all of the old state, or all of the new beside the old."""
    found = contents(folder)
    return found in (
        {"sessions.db": OLD, "sessions.db-wal": LOG},
        {"sessions.db": NEW, "sessions.db.replaced": OLD, "sessions.db.replaced-wal": LOG},
    )


def test_the_old_database_is_kept_with_its_log(database: Path, open_lock: OpenLock) -> None:
    database.chmod(0o644)
    kept = replace(database)
    assert database.read_bytes() == NEW
    assert Path(str(kept)).read_bytes() == OLD
    assert is_whole(database.parent)
    files = [
        each for each in database.parent.glob("sessions.db*") if not each.name.endswith("-wal")
    ]
    assert {each.stat().st_nlink for each in files} == {1}
    assert Path(str(kept)).stat().st_mode & 0o777 == 0o600


def test_a_failure_before_the_journal_changes_nothing(
    database: Path, open_lock: OpenLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError("the disk fails")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk fails"):
        replace(database)
    assert contents(database.parent) == {"sessions.db": OLD, "sessions.db-wal": LOG}


# -- what is found by the next who opens ---------------------------------------------------------


@pytest.fixture
def interrupted(
    database: Path, open_lock: OpenLock, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Return a function that begins a replacement and fails before a step: see STEPS."""

    def interrupt(step: str) -> None:
        name, source = STEPS[step]
        real = getattr(os, name)

        def fail(path: str, *others: str) -> None:
            if path.endswith(source):
                raise OSError("interrupted")
            real(path, *others)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            with pytest.raises(OSError, match="interrupted"):
                replace(database)
        assert replacement.is_pending(str(database))

    return interrupt


STEPS = {
    "the log is kept": ("rename", "-wal"),
    "the database is kept": ("rename", "sessions.db"),
    "the new file has its name": ("rename", "complete"),
    "the journal is removed": ("unlink", "-replacement"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_replacement_is_finished_and_logged(
    database: Path,
    open_lock: OpenLock,
    interrupted: Callable[[str], None],
    step: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupted(step)
    replacement.finish(str(database), open_lock)
    assert database.read_bytes() == NEW
    assert is_whole(database.parent)
    assert "had been interrupted and is finished now" in caplog.text
    caplog.clear()
    replacement.finish(str(database), open_lock)
    assert caplog.text == ""


def test_a_replacement_whose_new_file_is_gone_is_undone(
    database: Path,
    open_lock: OpenLock,
    interrupted: Callable[[str], None],
) -> None:
    interrupted("the new file has its name")
    assert not database.exists()
    shutil.rmtree(database.parent / "sessions.db.rescue")
    replacement.finish(str(database), open_lock)
    assert contents(database.parent) == {"sessions.db": OLD, "sessions.db-wal": LOG}


def test_a_file_that_came_in_between_is_not_overwritten(
    database: Path,
    open_lock: OpenLock,
    interrupted: Callable[[str], None],
) -> None:
    interrupted("the new file has its name")
    database.write_bytes(b"of an earlier Segue")
    replacement.finish(str(database), open_lock)
    kept = {each.read_bytes() for each in database.parent.glob("*.replaced-*")}
    assert kept == {OLD, LOG, b"of an earlier Segue"}
    assert database.read_bytes() == NEW


@pytest.mark.parametrize("name", [b"../elsewhere", b"other.db", b"", b"sessions.db.a\0b"])
def test_a_journal_that_names_no_file_beside_the_database_is_refused(
    database: Path, open_lock: OpenLock, name: bytes
) -> None:
    database.with_name("sessions.db-replacement").write_bytes(name)
    with pytest.raises(StorageUnavailable, match="does not name a file beside"):
        replacement.finish(str(database), open_lock)
    assert database.read_bytes() == OLD


def test_windows_that_open_together_finish_a_replacement_once(
    database: Path, open_lock: OpenLock, interrupted: Callable[[str], None]
) -> None:
    interrupted("the new file has its name")
    open_lock.close()
    failures: list[BaseException] = []

    def finish() -> None:
        lock = OpenLock(str(database))
        try:
            lock.share()
            replacement.finish(str(database), lock)
        except BaseException as error:
            failures.append(error)
        finally:
            lock.close()

    windows = [threading.Thread(target=finish) for _ in range(8)]
    for each in windows:
        each.start()
    for each in windows:
        each.join(20)
    assert failures == []
    assert is_whole(database.parent)


class OvertakenLock(OpenLock):
    """A lock that another window overtakes: it finishes the replacement first."""

    def __init__(self, database_path: str) -> None:
        super().__init__(database_path)
        self._database = database_path

    def try_exclusive(self) -> bool:
        """Let the other window finish, then try."""
        self.close()
        other = OpenLock(self._database)
        other.share()
        replacement.finish(self._database, other)
        other.close()
        self.share()
        return super().try_exclusive()


def test_a_replacement_that_another_window_has_finished_is_left(
    database: Path, interrupted: Callable[[str], None], open_lock: OpenLock
) -> None:
    interrupted("the new file has its name")
    open_lock.close()
    lock = OvertakenLock(str(database))
    lock.share()
    replacement.finish(str(database), lock)
    lock.close()
    assert is_whole(database.parent)


def test_a_replacement_is_not_finished_under_an_open_window(
    database: Path,
    interrupted: Callable[[str], None],
    open_lock: OpenLock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.1)
    interrupted("the new file has its name")
    other = OpenLock(str(database))
    other.share()  # as an earlier version does, which knows no replacements
    with pytest.raises(StorageUnavailable, match="another process has the database open"):
        replacement.finish(str(database), open_lock)
    assert not database.exists()
    other.close()
    replacement.finish(str(database), open_lock)
    assert is_whole(database.parent)


# -- loss of power -------------------------------------------------------------------------------


@attrs.frozen
class Change:
    """One change of names, not on disk before one of its folders is synced."""

    name: str
    paths: tuple[str, ...]

    def apply(self, names: dict[str, bytes]) -> None:
        """Apply the change, unless what it depends on has not reached the disk."""
        first, *rest = self.paths
        if first in names:
            content = names.pop(first)
            names.update(dict.fromkeys(rest, content))


Sync = str
"""A path that was synced: all changes in a folder, or the content of a file."""


def recorded(database: Path, monkeypatch: pytest.MonkeyPatch) -> list[Change | Sync]:
    """Replace the database; return the changes of names and the syncs, in order."""
    calls: list[Change | Sync] = []
    real = {name: getattr(os, name) for name in ("rename", "unlink", "fsync")}

    def change(name: str) -> Callable[..., None]:
        def call(*paths: str) -> None:
            real[name](*paths)
            calls.append(Change(name, paths))

        return call

    def sync(fd: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{fd}"))

    with monkeypatch.context() as patched:
        for name in ("rename", "unlink"):
            patched.setattr(os, name, change(name))
        patched.setattr(os, "fsync", sync)
        replace(database)
    return calls


def states(
    calls: list[Change | Sync], names: dict[str, bytes]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield what may be on disk after each call: any of the changes that were not synced."""
    pending: list[Change] = []
    for number, call in enumerate(calls):
        if isinstance(call, Change):
            pending.append(call)
        else:
            durable = [each for each in pending if call in map(os.path.dirname, each.paths)]
            for each in durable:
                each.apply(names)
            pending = [each for each in pending if each not in durable]
        for size in range(len(pending) + 1):
            for some in itertools.combinations(pending, size):
                state = dict(names)
                for each in some:
                    each.apply(state)
                yield f"after call {number} ({call}), of the rest {some}", state


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names the files that are synced")
def test_a_loss_of_power_leaves_all_of_one_state(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(database, monkeypatch)
    work = f"{database}.rescue"
    renames = [each for each in calls if isinstance(each, Change) and each.name == "rename"]
    moved, journal, _, kept, _ = renames
    synced = [each for each in calls if isinstance(each, str) and os.path.dirname(each) == work]
    assert synced == [moved.paths[1], journal.paths[0]]  # their content is on disk first
    assert calls.index(synced[1]) < calls.index(journal)
    names = {
        str(database): OLD,
        f"{database}-wal": LOG,
        moved.paths[0]: NEW,
        journal.paths[0]: os.path.basename(kept.paths[1]).encode(),
    }
    count = 0
    for where, state in states(calls, names):
        folder = tmp_path / f"disk-{count}"
        (folder / "sessions.db.rescue").mkdir(parents=True)
        for name, content in state.items():
            (folder / os.path.relpath(name, database.parent)).write_bytes(content)
        found = str(folder / "sessions.db")
        lock = OpenLock(found)
        lock.share()
        replacement.finish(found, lock)
        lock.close()
        assert is_whole(folder), (where, contents(folder))
        count += 1
    assert count > 20
