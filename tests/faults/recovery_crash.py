"""Kills repairs, restores, migrations and backups at every call that changes a file.

After each death the store is opened as the next server does, which is sometimes killed too, and as
the one after that. What could be read before is served, after a restore all of the one state or
of the other; nothing half made is left, every file has one name and is its owner's alone.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import attrs

from segue.model.errors import StorageCorrupt
from segue.model.records import NewSession
from segue.store.sqlite import schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.backup import back_up
from segue.store.sqlite.service import LocalSessionService
from tests.factories import INVOCATION, append_to_head, execute, user_message
from tests.faults.fault_vfs import OK, FaultVfs, Operation
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import make_folder, silent_stderr
from tests.schema_versions import store_at_version

DEATHS: dict[Size, int] = {"short": 8, "long": 100_000}
"""At how many calls each task is killed, beside all that rename or remove a file."""

ROUNDS: dict[Size, int] = {"short": 1, "long": 5}

SECOND_DEATH = 0.3
"""The share of deaths after which the next server is killed too."""

LOST = "what could be read before a task was killed is served after it"
MIXED = "after a restore that was killed, all of one state is served"
UNOPENED = "the store is opened after a task was killed"
LEFT_OVER = "nothing half made is left"
LINKED = "every file has one name"
READABLE = "every file and folder is its owner's alone"
UNSAID = "a replacement that was interrupted is said"
ALTERED = "the backup is left as it is"
UNKEPT = "the file that is replaced is kept unchanged"

SESSIONS, EVENTS = 3, 30
PAGE = 4_096
_COMPLETE = re.compile(
    r"sessions\.db(-wal|-shm|-lock|-write\.lock)?"
    r"|sessions\.db\.(corrupt|replaced)-\w+(-\d+)?(-wal|-shm)?"
    r"|sessions\.db\.schema-\d+|backups|[\w-]+\.db"
)
_NAMING = {"os.rename", "os.remove"}
_CHANGING_VFS = {"delete", "write", "truncate", "sync"}
_CREATE_FLAG = 4

_NEVER_COLLECTED: list[object] = []

Contents = Mapping[str, list[str]]
"""The content of each event, by the ids of the sessions."""

Task = Callable[[Path], object]


# -- deaths ------------------------------------------------------------------------------------


def run_and_die(task: Callable[[], object], at: int) -> list[str] | None:
    """Run *task* in a child that is killed before its *at*-th change of a file.

    Return the names of the changes, or None if the child was killed. Raises RuntimeError if *task*
    fails.
    """
    results, end = os.pipe()
    if child := os.fork():
        os.close(end)
        with open(results, encoding="ascii") as lines:
            names = lines.read().split()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError("the task has failed")
        return None if os.WIFSIGNALED(status) else names
    code = 1
    try:
        names = []

        def note(name: str) -> None:
            if len(names) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            names.append(name)

        _watch_files(note)
        os.umask(0)
        with contextlib.suppress(StorageCorrupt):
            task()
        os._write(end, " ".join(names).encode())  # type: ignore[attr-defined]  # see _watch_files
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch_files(note: Callable[[str], None]) -> None:
    """Call *note* before every change that this process makes to a file, by Python or by SQLite."""

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        writes = name == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or name in _NAMING | {"os.chmod", "os.truncate", "os.mkdir", "os.rmdir"}:
            note(name)

    def listen(operation: Operation) -> int:
        opens = operation.name == "open" and operation.argument & _CREATE_FLAG
        if opens or operation.name in _CHANGING_VFS:
            note(f"vfs.{operation.name}")
        return OK

    _watch_descriptors(note)
    sys.addaudithook(audit)
    vfs = FaultVfs()
    vfs.listener = listen
    installed = vfs.installed()
    installed.__enter__()
    _NEVER_COLLECTED.append(installed)


def _watch_descriptors(note: Callable[[str], None]) -> None:
    write, sync = os.write, os.fsync

    def noted_write(fd: int, data: bytes) -> int:
        note("write")
        return write(fd, data)

    def noted_sync(fd: int) -> None:
        note("fsync")
        sync(fd)

    os._write = write  # type: ignore[attr-defined]  # for the child's own report
    os.write, os.fsync = noted_write, noted_sync  # type: ignore[assignment]  # their parameters are positional


# -- stores ------------------------------------------------------------------------------------


async def fill(database: Path, prefix: str) -> None:
    """Store sessions, all of them in the main file."""
    service = await LocalSessionService.open(database)
    try:
        for number in range(SESSIONS):
            events = [user_message(f"{prefix} {number}-{seq} {'x' * 300}") for seq in range(EVENTS)]
            new = NewSession(id=f"{prefix}-{number}", directory="/")
            await service.create_session(new, events, invocation_id=INVOCATION)
    finally:
        await service.close()


def fill_log(database: Path, session: str) -> None:
    """Append events that are in the log only: their process is killed."""

    async def append() -> None:
        service = await LocalSessionService.open(database)
        for number in range(3):
            await append_to_head(service, session, user_message(f"in the log {number}"))
        os.kill(os.getpid(), signal.SIGKILL)

    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        asyncio.run(append())
    finally:
        os._exit(1)


def damage(database: Path) -> None:
    """Overwrite a page with events of the second session."""
    content = bytearray(database.read_bytes())
    offset = next(
        offset
        for offset in range(PAGE, len(content), PAGE)
        if content[offset] == 0x0D and b" 1-15 " in content[offset : offset + PAGE]
    )
    content[offset : offset + PAGE] = b"\xff" * PAGE
    database.write_bytes(content)


async def serve(database: Path) -> Contents:
    """Open the store as a server does, and read everything; a repair is answered by a retry."""
    for _ in range(3):
        try:
            service = await LocalSessionService.open(database)
        except StorageCorrupt:
            continue
        try:
            return await _read(service)
        except StorageCorrupt:
            continue
        finally:
            await service.close()
    raise StorageCorrupt(f"{database} is damaged after three repairs")


async def _read(service: LocalSessionService) -> Contents:
    found: dict[str, list[str]] = {}
    for session in (await service.list_sessions(limit=1_000)).sessions:
        page = await service.load_events(session.id, limit=1_000)
        found[session.id] = [event.data["content"] for event in page.events]
    return found


@attrs.frozen
class Scenario:
    """A task, the folder that it begins with, and what may be served when it was killed."""

    name: str
    folder: Path
    task: Task
    before: Contents
    after: Contents
    promise: str = LOST
    kept: tuple[bytes, ...] = ()
    """The database and its log, as the task must set them aside."""


def scenarios(folder: Path) -> Iterator[Scenario]:
    """Yield every task, with its store."""
    whole = _made(folder / "whole", lambda database: asyncio.run(fill(database, "old")))
    with_log = _copied(whole, folder / "with-log", lambda each: fill_log(each, "old-1"))
    other = _made(folder / "other", lambda database: asyncio.run(fill(database, "new")))
    older = folder / "older" / "sessions.db"
    store_at_version(whole, older, len(schema.MIGRATIONS) - 1)
    older.chmod(0o600)
    (old, old_with_log, new) = (_content(each) for each in (whole, with_log, other))

    damaged = _copied(with_log, folder / "damaged", damage)
    rescued = _content(damaged)
    kept = (damaged.read_bytes(), damaged.with_name("sessions.db-wal").read_bytes())
    yield Scenario("repair", damaged.parent, _repair, rescued, rescued, kept=kept)
    yield Scenario("repair by a server", damaged.parent, _serve, rescued, rescued)

    copy = with_log.parent / "copy.db"
    back_up(str(other), str(copy))
    yield Scenario("restore", with_log.parent, _restore, old_with_log, new, MIXED)
    shutil.copy(copy, damaged.parent / "copy.db")
    yield Scenario("restore of a damaged store", damaged.parent, _restore, rescued, new, MIXED)
    first = folder / "first"
    first.mkdir(mode=0o700)
    shutil.copy(copy, first / "copy.db")
    (first / "copy.db").chmod(0o600)
    yield Scenario("first restore", first, _restore, {}, new, MIXED)

    yield Scenario("migration", older.parent, _serve, old, old)
    yield Scenario("backup", with_log.parent, _back_up, old_with_log, old_with_log)


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    database = folder / "sessions.db"
    make(database)
    return database


def _copied(database: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(database.parent, folder)
    change(folder / "sessions.db")
    return folder / "sessions.db"


def _content(database: Path) -> Contents:
    """Return what a copy of the store serves."""
    copy = database.parent.with_name("copy")
    shutil.copytree(database.parent, copy)
    try:
        return asyncio.run(serve(copy / "sessions.db"))
    finally:
        shutil.rmtree(copy)


def _repair(database: Path) -> None:
    LocalStoreAdmin(database).repair()


def _serve(database: Path) -> None:
    asyncio.run(serve(database))


def _restore(database: Path) -> None:
    LocalStoreAdmin(database).restore(str(database.with_name("copy.db")), lambda preview: True)


def _back_up(database: Path) -> None:
    LocalStoreAdmin(database).back_up()


# -- what is found -----------------------------------------------------------------------------


class Deaths:
    """Kills one task again and again, each time on a new copy of its folder."""

    def __init__(self, report: Report, scenario: Scenario, folder: Path, rng: Random) -> None:
        self._report = report
        self._scenario = scenario
        self._folder = folder
        self._rng = rng
        self._database = folder / "sessions.db"
        self._where = ""
        self._is_pending = False

    def run(self) -> None:
        """Kill the task at each of the calls that were chosen."""
        self._prepare()
        names = run_and_die(lambda: self._scenario.task(self._database), -1) or []
        self._report.counts[f"calls of {self._scenario.name}"] = len(names)
        naming = [at for at, name in enumerate(names) if name in _NAMING]
        others = [at for at in range(len(names)) if at not in naming]
        chosen = self._rng.sample(others, min(len(others), DEATHS[self._report.size]))
        for at in sorted({*naming, *chosen}):
            if not self._report.has_failed:
                self._die(at)

    def _die(self, at: int) -> None:
        self._where = f"{self._scenario.name}, call {at}, seed {self._report.seed}"
        self._prepare()
        status = run_and_die(lambda: self._scenario.task(self._database), at)
        self._report.count("killed", int(status is None))
        self._is_pending = self._database.with_name("sessions.db-replacement").exists()
        self._expect_said()
        if self._rng.random() < SECOND_DEATH:
            again = self._rng.randrange(30)
            self._where += f", then call {again}"
            status = run_and_die(lambda: _serve(self._database), again)
            self._report.count("next server killed", int(status is None))
        self._expect_private()
        self._expect_served()
        self._expect_tidy()

    def _prepare(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._scenario.folder, self._folder)

    def _expect_said(self) -> None:
        problems = LocalStoreAdmin(self._database).check().problems
        is_said = any("was interrupted" in problem for problem in problems)
        self._report.expect(is_said is self._is_pending, UNSAID, f"{problems} {self._where}")
        self._report.count("replacements finished by the next", int(self._is_pending))

    def _expect_private(self) -> None:
        found = {
            str(each): oct(mode)
            for each in [self._folder, *self._folder.rglob("*")]
            if (mode := stat.S_IMODE(each.lstat().st_mode)) & 0o077
        }
        self._report.expect(not found, READABLE, f"{found} {self._where}")

    def _expect_served(self) -> None:
        scenario = self._scenario
        try:
            found = asyncio.run(serve(self._database))
        except Exception as error:
            self._report.expect(False, UNOPENED, f"{error!r} {self._where}")
            return
        self._report.count(f"{scenario.name}: as before", int(found == scenario.before))
        is_whole = found in (scenario.before, scenario.after)
        example = f"{ {id: len(events) for id, events in found.items()} } {self._where}"
        self._report.expect(is_whole, scenario.promise, example)
        sound = execute(self._database, "PRAGMA integrity_check")[0][0] == "ok"
        self._report.expect(sound, LOST, f"not sound {self._where}")

    def _expect_tidy(self) -> None:
        if self._scenario.name == "backup":
            _back_up(self._database)  # the next backup removes what the killed one left
        files = list(self._folder.rglob("*"))
        left = [each.name for each in files if not _COMPLETE.fullmatch(each.name)]
        self._report.expect(not left, LEFT_OVER, f"{left} {self._where}")
        linked = [each.name for each in files if each.is_file() and each.stat().st_nlink != 1]
        self._report.expect(not linked, LINKED, f"{linked} {self._where}")
        self._expect_private()
        problems = LocalStoreAdmin(self._database).check().problems
        self._report.expect(not problems, LEFT_OVER, f"{problems} {self._where}")
        self._expect_kept()

    def _expect_kept(self) -> None:
        copy, made = self._scenario.folder / "copy.db", self._folder / "copy.db"
        if copy.exists():
            self._report.expect(made.read_bytes() == copy.read_bytes(), ALTERED, self._where)
        # Otherwise the next server repairs it, which first moves the log into the file.
        if self._scenario.kept and self._is_pending:
            aside = [
                each
                for each in self._folder.glob("sessions.db.corrupt-*")
                if not each.name.endswith(("-wal", "-shm"))
            ]
            content = tuple(
                Path(f"{each}{suffix}").read_bytes()
                for each in aside
                for suffix in ("", "-wal")
                if Path(f"{each}{suffix}").exists()
            )
            is_kept = content == self._scenario.kept
            self._report.expect(is_kept, UNKEPT, f"{aside} {self._where}")


def run(report: Report, rng: Random) -> None:
    """Kill every task at some of its calls, or at all."""
    folder = make_folder()
    try:
        with silent_stderr():
            tasks = list(scenarios(folder))
            for _ in range(ROUNDS[report.size]):
                for each in tasks:
                    Deaths(report, each, folder / "victim", rng).run()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(run)
