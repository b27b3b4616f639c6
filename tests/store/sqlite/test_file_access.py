"""Who can reach the files of a database: folders, modes, owners and links."""

import logging
import os
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import disk, file_access
from segue.store.sqlite.service import LocalSessionService
from tests.factories import contents, store_session, user_message
from tests.store.sqlite.helpers import mode, modes, opened

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away"
)
STRANGER = 54_321


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that every user can enter; those of pytest are private."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="segue-")))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(place: Path) -> Path:
    """Return an empty folder of mode 0755 in `place`."""
    made = place / "folder"
    made.mkdir()
    made.chmod(0o755)
    return made


# Folders


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_every_folder_that_is_made_is_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        disk.make_private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [mode(each) for each in made] == [0o700] * 3


@pytest.mark.parametrize("folder_mode", [0o700, 0o750, 0o755, 0o555])
def test_a_folder_that_others_cannot_write_is_accepted(folder: Path, folder_mode: int) -> None:
    folder.chmod(folder_mode)
    file_access.check_folder(folder)


@pytest.mark.parametrize("folder_mode", [0o757, 0o777, 0o1777, 0o703])
def test_a_folder_that_others_can_write_is_refused(folder: Path, folder_mode: int) -> None:
    folder.chmod(folder_mode)
    with pytest.raises(StorageUnavailable, match=r"Others may write to .*chmod go-w"):
        file_access.check_folder(folder)


def test_a_folder_in_one_that_others_can_write_is_refused(folder: Path) -> None:
    folder.parent.chmod(0o777)
    with pytest.raises(StorageUnavailable, match=f"Others may write to {folder.parent} "):
        file_access.check_folder(folder)


def test_a_folder_that_others_cannot_reach_may_have_any_mode(folder: Path) -> None:
    folder.chmod(0o777)
    folder.parent.chmod(0o700)
    file_access.check_folder(folder)


def test_in_a_sticky_folder_what_exists_is_safe(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    file_access.check_folder(folder)
    folder.chmod(0o1777)
    file_access.check_folder(folder, sticky_suffices=True)


def test_a_group_of_this_user_alone_may_write(folder: Path) -> None:
    os.chown(folder, -1, os.getgid())
    folder.chmod(0o775)
    import grp
    import pwd

    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    if user.pw_name != group.gr_name or group.gr_mem:
        pytest.skip(f"the group {group.gr_name} is not that of {user.pw_name} alone")
    file_access.check_folder(folder)


@needs_root
@pytest.mark.parametrize("group", [STRANGER, 1])
def test_a_folder_that_a_group_can_write_is_refused(folder: Path, group: int) -> None:
    os.chown(folder, -1, group)
    folder.chmod(0o775)
    with pytest.raises(StorageUnavailable, match="Others may write"):
        file_access.check_folder(folder)
    folder.chmod(0o770)
    with pytest.raises(StorageUnavailable, match="Others may write"):
        file_access.check_folder(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep ACLs elsewhere")
def test_a_folder_that_an_acl_opens_to_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, -1, os.getgid())
    none = 0xFFFF_FFFF
    entries = [(1, 7, none), (2, 7, STRANGER), (4, 0, none), (16, 7, none), (32, 5, none)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error}")
    with pytest.raises(StorageUnavailable, match="Others may write"):
        file_access.check_folder(folder)


@needs_root
@pytest.mark.parametrize("which", ["folder", "parent"])
def test_a_folder_of_another_user_is_refused(folder: Path, which: str) -> None:
    os.chown(folder if which == "folder" else folder.parent, STRANGER, STRANGER)
    with pytest.raises(StorageUnavailable, match=f"belongs to another user .{STRANGER}"):
        file_access.check_folder(folder)


# Files


async def test_what_others_could_read_is_made_private_and_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = folder / "sessions.db"
    async with opened(database) as service:
        id = await store_session(service, user_message("kept"))
        files = list(folder.iterdir())
        for path in files:
            path.chmod(0o644)
        with caplog.at_level(logging.WARNING, "segue"):
            async with opened(database) as other:
                assert await contents(other, id) == ["kept"]
        assert set(modes(folder).values()) == {0o600}
    assert f"{database} could be read by others (mode 644); its mode is 600 now." in caplog.messages
    assert len(caplog.messages) == len(files)


async def test_a_file_that_may_not_be_written_stays_so(folder: Path) -> None:
    database = folder / "sessions.db"
    async with opened(database):
        pass
    database.chmod(0o444)
    assert len(file_access.make_private(str(database))) == 1
    assert mode(database) == 0o400


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_file_system_without_modes_is_used_only_where_others_cannot_reach_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    database = folder / "sessions.db"
    async with opened(database):
        pass
    database.chmod(0o755)
    folder.parent.chmod(0o755 if reachable else 0o700)
    # vfat accepts every mode and keeps none; it cannot be mounted everywhere.
    monkeypatch.setattr(os, "chmod", lambda path, mode: None)
    if not reachable:
        async with opened(database) as service:
            await store_session(service)
        return
    with pytest.raises(StorageUnavailable, match="its file system does not let that be changed"):
        await LocalSessionService.open(database)


def link_elsewhere(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def link_to_a_file(path: Path) -> None:
    (path.parent / "elsewhere").write_text("kept")
    path.symlink_to(path.parent / "elsewhere")


def another_name(path: Path) -> None:
    path.write_text("")
    (path.parent / "elsewhere").hardlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def of_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path.write_text("")
    os.chown(path, STRANGER, STRANGER)


HARMS: list[Callable[[Path], None]] = [
    link_elsewhere, link_to_a_file, another_name, pipe, directory, of_another_user,
]  # fmt: skip


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (each.st_mode, each.st_uid, each.st_size) for name, each in found.items()}


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", "-lock", "-write.lock"])
@pytest.mark.parametrize("harm", HARMS)
async def test_what_is_not_a_file_of_this_user_alone_is_refused_and_left(
    folder: Path, harm: Callable[[Path], None], suffix: str
) -> None:
    database = folder / "sessions.db"
    harmed = folder / f"sessions.db{suffix}"
    if suffix == "" and harm in (link_elsewhere, link_to_a_file):
        return  # a person may link the database itself
    harm(harmed)
    before = state(folder)
    with pytest.raises(StorageUnavailable, match="was left as it is") as error:
        await LocalSessionService.open(database)
    assert str(harmed) in str(error.value)
    assert state(folder) == before


@pytest.mark.parametrize("harm", HARMS)
def test_no_lock_file_is_opened_through_anything_else(
    folder: Path, harm: Callable[[Path], None]
) -> None:
    lock = folder / "lock"
    harm(lock)
    before = state(folder)
    with pytest.raises(StorageUnavailable, match=str(lock)):
        file_access.open_lock_file(str(lock))
    assert state(folder) == before


async def test_the_link_of_a_database_is_followed(folder: Path, place: Path) -> None:
    link = folder / "sessions.db"
    link.symlink_to(place / "real.db")
    async with opened(link) as service:
        await store_session(service)
    assert stat.S_ISLNK(link.lstat().st_mode)
    assert mode(place / "real.db") == 0o600


async def test_a_link_into_a_folder_that_others_can_write_is_refused(
    folder: Path, place: Path
) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    (folder / "sessions.db").symlink_to(place / "open" / "real.db")
    with pytest.raises(StorageUnavailable, match="Others may write"):
        await LocalSessionService.open(folder / "sessions.db")
    assert list((place / "open").iterdir()) == []


async def test_a_lock_that_became_a_folder_is_an_error_in_words(database: Path) -> None:
    async with opened(database) as service:
        lock = database.with_name("sessions.db-write.lock")
        lock.unlink()
        lock.mkdir()
        with pytest.raises(StorageUnavailable, match=r"write\.lock is not a file"):
            await store_session(service)


async def test_a_lock_that_cannot_be_opened_is_an_error_in_words(database: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened(database) as service:
        await store_session(service)
        guard: Any = service._connection._guard
        guard._write_lock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            with pytest.raises(StorageUnavailable, match=r"Too many open files.*write\.lock"):
                await store_session(service)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await store_session(service)
