"""Replaces a database by another complete file, such that a crash at any step does no harm.

The new file is made in a working folder beside the database. Nothing of the old one is touched
before the new one is checked, synced and named in the journal, a file that exists while the
replacement is under way. Whoever opens the database next finishes what the journal says; without a
journal nothing was replaced, and the working folder is removed.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import disk, driver
from segue.store.sqlite.disk import REPLACEMENT_FOLDER, REPLACEMENT_JOURNAL
from segue.store.sqlite.locks import OpenLock


def is_pending(path: str) -> bool:
    """Return whether a replacement of the database at *path* has begun and not ended."""
    return os.path.lexists(f"{path}{REPLACEMENT_JOURNAL}")


def pending_message(path: str) -> str:
    """Return what to tell a user whose database cannot be read before a replacement is finished."""
    return (
        f"The replacement of {path} by a repair or a restore was interrupted. The next editor "
        "window finishes it, or `segue doctor --repair` does."
    )


@contextlib.contextmanager
def working_folder(path: str) -> Iterator[str]:
    """Yield a new, empty and private folder for a file that shall replace the database at *path*.

    The caller holds the open lock alone. The folder is removed with all that is in it, except for
    the file of a replacement that has begun and not ended.
    """
    folder = f"{path}{REPLACEMENT_FOLDER}"
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        if not is_pending(path):
            shutil.rmtree(folder, ignore_errors=True)


def replace(path: str, new: str, kind: str) -> str | None:
    """Put the file *new*, of the working folder, in the place of the database at *path*.

    *new* is a complete database without a log, which no process has open; the caller holds the open
    lock alone. Returns the path at which the old database is kept, with its log beside it:
    *path*`.`*kind*`-TIME`, which no file had; None if there was none.
    """
    is_first = not any(os.path.lexists(f"{path}{suffix}") for suffix in ("", *disk.LOGS))
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    kept_as = disk.free_path(f"{path}.{kind}-{stamp}")
    os.rename(new, _complete(path))
    disk.sync_file(_complete(path))
    _write_journal(path, kept_as)
    _finish(path)
    return None if is_first else kept_as


def finish(path: str, open_lock: OpenLock) -> None:
    """Finish or undo the replacement of a process that was killed, and remove what it left.

    *open_lock* is held together with others, before and after. Raises StorageUnavailable if
    another process has the database open nevertheless: an earlier version of Segue may.
    """
    deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
    while is_pending(path):
        if open_lock.try_exclusive():
            try:
                _finish_logged(path)
            finally:
                open_lock.share()
        elif time.monotonic() > deadline:
            raise StorageUnavailable(
                f"{pending_message(path)} Now another process has the database open: close it."
            )
        else:
            open_lock.close()  # two windows that both share it would wait for each other
            time.sleep(0.01)
            open_lock.share()
    # While the lock is shared nobody works in the folder.
    shutil.rmtree(f"{path}{REPLACEMENT_FOLDER}", ignore_errors=True)


def _finish_logged(path: str) -> None:
    if is_pending(path):
        kept_as = _finish(path)
        logging.getLogger("segue").warning(
            "the replacement of %s had been interrupted and is finished now; the file that was "
            "replaced is kept as %s",
            path,
            kept_as,
        )


# -- the steps: each of them may have been done before the process was killed --------------------


def _finish(path: str) -> str:
    """Do what is left of the replacement in the journal; return where the old file is kept."""
    kept_as = _read_journal(path)
    if os.path.lexists(_complete(path)):
        for suffix in (*disk.LOGS, ""):
            _move(f"{path}{suffix}", f"{kept_as}{suffix}")
        disk.sync_folder_of(path)  # SQLite would apply an old log that comes back to the new file
        _forget_marks(path)
        with contextlib.suppress(OSError):  # it is made anew anyway
            disk.remove_index(path)
        os.rename(_complete(path), path)
    elif not os.path.lexists(path):  # somebody removed the new file: undo
        for suffix in (*disk.LOGS, ""):
            _move(f"{kept_as}{suffix}", f"{path}{suffix}")
    with contextlib.suppress(FileNotFoundError):
        disk.sync_folder_of(_complete(path))
    disk.sync_folder_of(path)
    os.unlink(f"{path}{REPLACEMENT_JOURNAL}")
    disk.sync_folder_of(path)
    return kept_as


def _forget_marks(path: str) -> None:
    # They say how far the sessions had got in the file that is replaced.
    with contextlib.suppress(FileNotFoundError):
        os.truncate(f"{path}-write.lock", 0)


def _complete(path: str) -> str:
    return f"{path}{REPLACEMENT_FOLDER}/complete"


def _write_journal(path: str, kept_as: str) -> None:
    draft = f"{path}{REPLACEMENT_FOLDER}/journal"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, os.fsencode(os.path.basename(kept_as)))
        os.fsync(fd)
    finally:
        os.close(fd)
    # The journal promises the new file: that must be on disk first.
    disk.sync_folder_of(draft)
    disk.sync_folder_of(path)
    os.rename(draft, f"{path}{REPLACEMENT_JOURNAL}")
    disk.sync_folder_of(path)


def _read_journal(path: str) -> str:
    fd = os.open(f"{path}{REPLACEMENT_JOURNAL}", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(fd, "rb") as file:
        name = os.fsdecode(file.read(4_096))
    folder, own_name = os.path.split(path)
    if os.path.basename(name) != name or "\0" in name or not name.startswith(f"{own_name}."):
        raise StorageUnavailable(
            f"{path}{REPLACEMENT_JOURNAL} does not name a file beside {path}. Look at the files "
            "there, and remove it."
        )
    return os.path.join(folder, name)


def _move(source: str, target: str) -> None:
    if os.path.lexists(source):
        with contextlib.suppress(OSError):
            os.chmod(source, 0o600)  # what is damaged was not opened, which would have done that
        os.rename(source, disk.free_path(target) if os.path.lexists(target) else target)
