"""Who can read, write or replace the files of a database: only their owner may.

Nobody else reaches what lies in a folder that only its owner may enter, whatever the modes beneath
it say. Where file systems have no modes of their own (vfat, drvfs), a database is kept only there.
"""

import contextlib
import functools
import os
import stat
from collections.abc import Iterator

from segue.model.errors import StorageUnavailable

_SUFFIXES = ("", "-wal", "-shm", "-journal", "-lock", "-write.lock", "-watch.lock")
"""What the names of a database's files end with."""

_ENTER, _WRITE = 0o1, 0o2
_OTHERS = 0o077


def open_lock_file(path: str) -> int:
    """Open or make the lock file at *path*; return its descriptor.

    Raises StorageUnavailable if it is a link, is not a file, or is another user's.
    """
    optional = ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY")
    flags = functools.reduce(int.__or__, (getattr(os, name, 0) for name in optional))
    flags |= os.O_RDWR | os.O_CREAT
    try:
        fd = os.open(path, flags, 0o600)
    except OSError:
        _refuse_foreign(path)
        raise
    try:
        _check_status(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_writable(path: str) -> bool:
    """Return whether this process may write the database at *path* and its folder."""
    present = (f"{path}{suffix}" for suffix in ("", "-wal", "-shm"))
    return _may_write(os.path.dirname(path) or ".") and all(
        _may_write(each) for each in present if os.path.exists(each)
    )


def _may_write(path: str) -> bool:
    # By the effective user, as when the file is opened, where the system can tell.
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def check_folder(folder: str | os.PathLike[str], *, sticky_suffices: bool = False) -> None:
    """Raise StorageUnavailable if others can put files of their own into *folder* or in its place.

    A folder that others may write, but in which they cannot rename what is not theirs (as in
    `/tmp`), is refused too unless *sticky_suffices*.
    """
    if os.name != "posix":
        return
    path = os.path.realpath(folder)
    _check_owner(path, os.stat(path).st_uid)
    if not is_reachable(path):
        return
    for each in _upwards(path):
        status = os.stat(each)
        _check_owner(each, status.st_uid)
        is_safe_if_sticky = sticky_suffices or each != path
        if status.st_mode & stat.S_ISVTX and is_safe_if_sticky:
            continue
        if _others_may(_WRITE, each, status):
            raise StorageUnavailable(
                f"Others may write to {each} (mode {stat.S_IMODE(status.st_mode):o}), so they "
                "could read or replace the conversations in it. Run `chmod go-w` on it, or name a "
                "private folder with --database or the setting `database`."
            )


def is_reachable(path: str) -> bool:
    """Return whether other users, without root, can reach what lies in the real folder *path*."""
    return not any(
        (status := os.stat(each)).st_uid == os.geteuid() and not _others_may(_ENTER, each, status)
        for each in _upwards(path)
    )


def make_private(path: str) -> list[str]:
    """Check every file of the database at *path*, and take it from the group and others.

    Returns a warning for each whose mode was changed. Raises StorageUnavailable if one is not a
    file of this user's alone, or if the file system cannot make it private where others reach it.
    """
    if os.name != "posix":
        return []
    return [warning for each in files_of(path) for warning in _made_private(each, path)]


def check_files(path: str) -> None:
    """Raise StorageUnavailable if a file of the database at *path* is not this user's alone."""
    for each in files_of(path):
        _refuse_foreign(each)


def files_of(path: str) -> list[str]:
    """Return the paths of all files that the database at *path* can have."""
    return [f"{path}{suffix}" for suffix in _SUFFIXES]


def _upwards(path: str) -> Iterator[str]:
    """Yield the folder *path* and every folder above it."""
    yield path
    while (parent := os.path.dirname(path)) != path:
        yield (path := parent)


def _check_owner(folder: str, owner: int) -> None:
    # The owner of a folder can put another file in the database's place.
    if owner not in (os.geteuid(), 0):
        raise StorageUnavailable(
            f"{folder} belongs to another user ({owner}), who could read or replace the "
            "conversations in it. Name a folder of your own with --database or the setting "
            "`database`."
        )


def _others_may(bit: int, path: str, status: os.stat_result) -> bool:
    """Return whether a user who is neither the owner nor root has the right *bit* of *path*."""
    if status.st_mode & bit:
        return True
    return bool(status.st_mode & bit << 3) and not (
        _is_private_group(status.st_gid) and not _has_acl(path)
    )


def _is_private_group(group_id: int) -> bool:
    """Return whether this user alone is in the group, as where every user has one of the own."""
    import grp  # a folder is rarely open to its group
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(group_id)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (group_id, group.gr_name) and set(group.gr_mem) <= {
        user.pw_name
    }


def _has_acl(path: str) -> bool:
    # With an ACL the bits of the group are those of every user whom the ACL names.
    if not hasattr(os, "getxattr"):
        return False
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def _made_private(path: str, database: str) -> Iterator[str]:
    _refuse_foreign(path)
    with contextlib.suppress(FileNotFoundError):  # another window has removed its log
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if not mode & _OTHERS:
            return
        with contextlib.suppress(OSError):
            # By its name: to close a descriptor of the file would release SQLite's locks on it.
            os.chmod(path, mode & ~_OTHERS)
        if not (left := stat.S_IMODE(os.lstat(path).st_mode)) & _OTHERS:
            yield f"{path} could be read by others (mode {mode:o}); its mode is {left:o} now."
        elif is_writable(database) and is_reachable(os.path.dirname(path)):
            raise StorageUnavailable(
                f"{path} can be read by others (mode {left:o}), and its file system does not let "
                "that be changed. Name a file on another disk with --database or the setting "
                "`database`, or make a folder above it private (`chmod 700`)."
            )


def _refuse_foreign(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        _check_status(path, os.lstat(path))


def _check_status(path: str, status: os.stat_result) -> None:
    """Raise StorageUnavailable unless *status*, of *path*, is that of a file of this user alone."""
    if stat.S_ISLNK(status.st_mode):
        problem, remedy = "is a symbolic link", "remove it"
    elif not stat.S_ISREG(status.st_mode):
        problem, remedy = "is not a file", "remove it"
    elif os.name != "posix":
        return
    elif status.st_uid != os.geteuid():
        problem = f"is owned by another user ({status.st_uid})"
        remedy = "have it given to you (`chown`)"
    elif status.st_nlink > 1:
        problem = f"has {status.st_nlink} names (hard links)"
        remedy = "remove the others, or replace it by a copy"
    else:
        return
    raise StorageUnavailable(
        f"{path} {problem}, so others might read or change it. It was left as it is; {remedy}, or "
        "name another file with --database or the setting `database`."
    )
