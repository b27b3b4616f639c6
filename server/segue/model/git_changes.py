"""Measures what changed in a git checkout since a time, without a git process.

Anybody may have written the files of git, they change while they are read, and a mount can hang. So
all of it is bounded, no symlink is followed, and what is too large or not understood counts as not
measured. The calls block for as long as the file system takes: `sessions.locator` runs them.
"""

import os
import re
import stat
import struct
import time
from collections.abc import Iterator

import attrs

from segue.model.records import Timestamp
from segue.model.workspace import Touch, git_dirs

LONGEST_S = 0.08
"""How long one measurement takes at most, apart from a system call that hangs. 10,000 tracked files
took 45 ms.
"""

MAX_TRACKED = 20_000
MAX_INDEX_BYTES = 8 * 1024 * 1024
MAX_PACKED_REFS_BYTES = 8 * 1024 * 1024

REFLOG_TAIL_BYTES = 256 * 1024
"""How much of a reflog is read, from its end: about 1,500 entries."""

_LONGEST_REF_FILE = 4_096
_LONGEST_PATH = 4_096


@attrs.frozen
class Head:
    """Where HEAD is: on a branch, detached, or (neither) at a commit whose branch is not known."""

    commit: str | None
    """None: the branch has no commit yet, or its commit was not found."""

    branch: str | None = None
    """As in the files of git: it may hold anything."""

    is_detached: bool = False


@attrs.frozen(kw_only=True)
class GitChanges:
    """What changed in a checkout; None is what was not measured."""

    now: Head
    then: Head | None = None

    commits: int | None = None
    """How many commits were made in this checkout."""

    modified: int | None = None
    """How many tracked files have a later modification time."""

    missing: int | None = None
    """How many tracked files are not there, since whenever."""


def measure_changes(root: str, since: Timestamp, touch: Touch) -> GitChanges | None:
    """Return what changed since the time *since* in the checkout whose `.git` is in *root*.

    None: not even HEAD could be read.
    """
    deadline = time.monotonic() + LONGEST_S
    try:
        git_dir, common_dir = git_dirs(root, touch)
        now = _read_head(git_dir, common_dir, touch)
    except _FAULTS:
        return None
    changes = GitChanges(now=now)
    if now.commit is None or since > time.time_ns() // 1_000_000:
        return changes
    try:
        history = _History(git_dir, now, since, touch)
        changes = attrs.evolve(changes, then=history.head(), commits=history.count_commits())
    except _FAULTS:
        pass
    try:
        paths = _tracked_paths(_read(git_dir, "index", MAX_INDEX_BYTES, touch), now.commit)
        modified, missing = _count_changed(os.fsencode(root), paths, since, touch, deadline)
        changes = attrs.evolve(changes, modified=modified, missing=missing)
    except _FAULTS:
        pass
    return changes


def read_branch(root: str, touch: Touch) -> str | None:
    """Return the branch that is checked out where the `.git` in *root* is; None: detached, unknown.

    The name may hold anything.
    """
    try:
        git_dir, _ = git_dirs(root, touch)
        ref = _read_ref_of_head(git_dir, touch)[1]
    except _FAULTS:
        return None
    return None if ref is None else _branch(ref)


class _NotMeasured(Exception):  # noqa: N818  it is no error
    """Something is missing, too large, or not as git writes it."""


_FAULTS = (_NotMeasured, OSError, ValueError, IndexError, struct.error)
"""What ends a part of the measurement; ValueError: also InvalidWorkspaceError and UnicodeError."""


# -- files -------------------------------------------------------------------------------------


def _read(folder: str, relative: str, limit: int, touch: Touch) -> bytes:
    """Return the content of a file below *folder*, of at most *limit* bytes.

    Raises FileNotFoundError if there is none.
    """
    content, _, size = _read_tail(folder, relative, limit, touch)
    if size > limit:
        raise _NotMeasured
    return content


def _read_tail(folder: str, relative: str, limit: int, touch: Touch) -> tuple[bytes, int, int]:
    """Return the last *limit* bytes of a file below *folder*, its mtime (ms) and its size."""
    path = folder
    for name in relative.split("/"):
        path = os.path.join(path, name)
        touch(path)
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise _NotMeasured
    if not stat.S_ISREG(mode):  # to open a device can change it
        raise _NotMeasured
    # Should it be a FIFO by now, open would wait for somebody who writes to it.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, os.O_RDONLY | flags), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        file.seek(max(0, found.st_size - limit))
        content = file.read(limit) or b""
    if len(content) != min(found.st_size, limit):
        raise _NotMeasured
    return content, found.st_mtime_ns // 1_000_000, found.st_size


# -- HEAD and refs -----------------------------------------------------------------------------

_COMMIT = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})")
_REF = re.compile(rb"refs/heads(?:/(?!\.)[^\0-\x20\x7f/]+)+")
"""A branch. None begins with a dot: `refs/heads/.invalid` stands for a reftable."""


def _read_head(git_dir: str, common_dir: str, touch: Touch) -> Head:
    content, ref = _read_ref_of_head(git_dir, touch)
    if ref is None:
        return Head(_checked_commit(content), is_detached=True)
    commit = _read_loose_ref(common_dir, ref, touch) or _find_packed_ref(common_dir, ref, touch)
    return Head(commit, branch=_branch(ref))


def _read_ref_of_head(git_dir: str, touch: Touch) -> tuple[bytes, bytes | None]:
    """Return what HEAD has, and the ref that it names, if it is not detached."""
    content = _read(git_dir, "HEAD", _LONGEST_REF_FILE, touch).rstrip()
    if not content.startswith(b"ref: "):
        return content, None
    ref = content.removeprefix(b"ref: ").strip()
    if not _REF.fullmatch(ref):
        raise _NotMeasured
    return content, ref


def _branch(ref: bytes) -> str:
    return _text(ref.removeprefix(b"refs/heads/"))


def _read_loose_ref(common_dir: str, ref: bytes, touch: Touch) -> str | None:
    try:
        content = _read(common_dir, os.fsdecode(ref), _LONGEST_REF_FILE, touch)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _checked_commit(content.rstrip())


def _find_packed_ref(common_dir: str, ref: bytes, touch: Touch) -> str | None:
    try:
        packed = _read(common_dir, "packed-refs", MAX_PACKED_REFS_BYTES, touch)
    except FileNotFoundError:
        return None
    end = packed.find(b" " + ref + b"\n")
    if end < 0:
        return None
    return _checked_commit(packed[packed.rfind(b"\n", 0, end) + 1 : end])


def _checked_commit(name: bytes) -> str:
    if not _COMMIT.fullmatch(name):
        raise _NotMeasured
    return name.decode()


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


# -- the reflog --------------------------------------------------------------------------------


@attrs.frozen
class _Move:
    """A line of the reflog of HEAD."""

    old: str
    new: str
    time_s: int
    action: str
    """What moved HEAD, such as `commit (amend)`."""
    detail: str

    def switch(self) -> tuple[str, str] | None:
        """Return from where to where it says that it moved HEAD, if it does."""
        pattern = _SWITCHES.get(self.action)
        match = pattern and pattern.fullmatch(self.detail)
        return (match[1], match[2]) if match else None

    def returns_to(self) -> str | None:
        """Return the branch to which a rebase returns with it, if it does."""
        match = self.action.endswith((" (finish)", " (abort)")) and _RETURN.fullmatch(self.detail)
        return match[1] if match else None

    @property
    def starts_rebase(self) -> bool:
        return self.action.endswith(" (start)") and self.detail.startswith("checkout ")


_LINE = re.compile(
    rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) .*> (\d{1,12}) [+-]\d{4}(?:\t(.*))?"
)
_SWITCHES = {
    "checkout": re.compile(r"moving from (\S{1,1024}) to (.+)"),
    "Branch": re.compile(r"renamed refs/heads/(\S{1,1024}) to refs/heads/(\S+)"),
}
_RETURN = re.compile(r"returning to refs/heads/(\S+)")
_STAYS_ON_BRANCH = {
    "am", "cherry-pick", "clone", "commit", "merge", "pull", "rebase", "reset", "revert",
}  # fmt: skip
"""The first words of actions that do not switch the branch, unless `_Move` has a method for it."""

_MAKES_COMMIT = {
    "am", "cherry-pick", "commit", "commit (cherry-pick)", "commit (initial)", "commit (merge)",
    "revert",
}  # fmt: skip

_DETACHED = ""
"""Stands for a detached HEAD where otherwise the name of a branch is."""


class _History:
    """What the reflog of HEAD says of the time since *since*.

    Raises _NotMeasured if it does not reach back so far, has a gap, or was written by clocks that
    disagree.
    """

    def __init__(self, git_dir: str, now: Head, since: Timestamp, touch: Touch) -> None:
        tail, written_at, size = _read_tail(git_dir, "logs/HEAD", REFLOG_TAIL_BYTES, touch)
        lines = tail.split(b"\n")
        if lines.pop() != b"":
            raise _NotMeasured
        self._lines = lines[1:] if size > len(tail) else lines
        self._now = now
        self._later: list[_Move] = []
        """The moves since then, newest first."""
        moves = self._moves()
        newer: _Move | None = None
        for move in moves:
            if move.new != (now.commit if newer is None else newer.old):
                raise _NotMeasured
            if newer is not None and move.time_s > newer.time_s:
                raise _NotMeasured
            # It has seconds: whether it was before or after is not known within one.
            if move.time_s == since // 1_000:
                raise _NotMeasured
            newer = move
            if move.time_s < since // 1_000:
                break
            self._later.append(move)
        else:
            raise _NotMeasured
        before = next(moves, None)
        if before is not None and before.time_s > newer.time_s:
            raise _NotMeasured
        if not self._later and written_at > since:  # by a clock that was set back, or a copy
            raise _NotMeasured
        if not newer.new.strip("0"):
            raise _NotMeasured
        self._commit = newer.new
        self._head_was_replaced = _read_tail(git_dir, "HEAD", 0, touch)[1] > since

    def head(self) -> Head:
        """Return where HEAD was."""
        branch = self._branch()
        if branch == _DETACHED:
            return Head(self._commit, is_detached=True)
        return Head(self._commit, branch=branch)

    def count_commits(self) -> int | None:
        """Return how many commits were made and not replaced; None if that is not clear."""
        made = set()
        for move in reversed(self._later):
            if move.old == move.new or move.switch():
                continue
            if move.action in _MAKES_COMMIT and move.detail != "fast-forward":
                made.add(move.new)
            elif move.action == "commit (amend)" and move.old in made:
                made.remove(move.old)
                made.add(move.new)
            else:
                return None
        return len(made)

    def _branch(self) -> str | None:
        """Follow the moves back from the branch of today; return None where that fails."""
        branch = _DETACHED if self._now.is_detached else self._now.branch
        returned_to: str | None = None
        has_switched = is_guess = False
        for move in self._later:
            if (switch := move.switch()) is not None:
                before, after = switch
                if not move.new.strip("0"):  # a renaming has two lines; this is the first
                    continue
                if branch not in (_DETACHED, after):
                    return None
                branch = _DETACHED if _COMMIT.fullmatch(before.encode()) else before
                is_guess, has_switched = False, True
            elif (target := move.returns_to()) is not None:
                if branch != target:
                    return None
                branch, returned_to = _DETACHED, target
                is_guess, has_switched = False, True
            elif move.starts_rebase:
                # `git rebase main topic` switches to topic first, and the reflog does not tell.
                if branch != _DETACHED or returned_to is None:
                    return None
                branch, returned_to, is_guess = returned_to, None, True
            elif move.action.partition(" ")[0] not in _STAYS_ON_BRANCH:
                return None
        if is_guess and self._last_switch_before() != branch:
            return None
        if not has_switched and self._head_was_replaced and not self._now.is_detached:
            return None
        return branch

    def _last_switch_before(self) -> str | None:
        for number, move in enumerate(self._moves()):
            if number >= len(self._later):
                switch = move.switch()
                if (target := switch[1] if switch else move.returns_to()) is not None:
                    return target
        return None

    def _moves(self) -> Iterator[_Move]:
        """Yield the moves, newest first."""
        for line in reversed(self._lines):
            match = _LINE.fullmatch(line)
            if match is None:
                raise _NotMeasured
            old, new, seconds, message = match.groups(b"")
            action, _, detail = _text(message).partition(": ")
            yield _Move(old.decode(), new.decode(), int(seconds), action, detail)


# -- the index ---------------------------------------------------------------------------------

_HEADER = struct.Struct(">4sII")
_EXTENSION = struct.Struct(">4sI")
_KIND_AT = 26
_FLAGS_AT = 40
"""Where the flags of an entry are, without the length of its hash."""

_FILE, _SYMLINK, _SUBMODULE = 0x80, 0xA0, 0xE0
_EXTENDED = 0x40
_SKIP_WORKTREE = 0x40

_NO_NAMES = {b"", b".", b"..", b".git"}
"""Git tracks nothing with such a part in its path."""

_FILES_PER_LOOK = 16
"""How many files are looked at between two looks at the clock."""


def _tracked_paths(index: bytes, commit: str) -> list[bytes]:
    """Return the paths of the files in an index, without submodules; they can be anything.

    *commit* has the length of a hash. As git does, leave the checksum at the end alone. Raises
    _NotMeasured for an index that is split or sparse.
    """
    hash_size = len(commit) // 2
    signature, version, count = _HEADER.unpack_from(index)
    if signature != b"DIRC" or version not in (2, 3, 4) or count > MAX_TRACKED:
        raise _NotMeasured
    at, end = _HEADER.size, len(index) - hash_size
    paths: list[bytes] = []
    path, last = b"", None
    for _ in range(count):
        name = at + _FLAGS_AT + hash_size + 2
        if index[name - 2] & _EXTENDED:
            if version == 2 or index[name] & _SKIP_WORKTREE:
                raise _NotMeasured
            name += 2
        if version == 4:
            stripped, name = _varint(index, name)
            if stripped > len(path):
                raise _NotMeasured
            stop = index.index(b"\0", name, end)
            path = path[: len(path) - stripped] + index[name:stop]
        else:
            stop = index.index(b"\0", name, end)
            path = index[name:stop]
        kind = index[at + _KIND_AT] & 0xF0
        at = stop + 1 if version == 4 else at + ((stop - at + 8) & ~7)
        if len(path) > _LONGEST_PATH:
            raise _NotMeasured
        if kind in (_FILE, _SYMLINK):
            if path != last:  # there are up to three of one that is in conflict
                paths.append(path)
            last = path
        elif kind != _SUBMODULE:
            raise _NotMeasured
    while at < end:
        signature, size = _EXTENSION.unpack_from(index, at)
        if not signature[:1].isupper():  # `link`, `sdir`: without it the index means nothing
            raise _NotMeasured
        at += _EXTENSION.size + size
    if at != end:
        raise _NotMeasured
    return paths


def _varint(index: bytes, at: int) -> tuple[int, int]:
    """Return the number at *at*, in the encoding of offsets in packs, and where it ends."""
    byte = index[at]
    value = byte & 0x7F
    for _ in range(3):
        at += 1
        if byte < 0x80:
            return value, at
        byte = index[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    raise _NotMeasured


def _count_changed(
    root: bytes, paths: list[bytes], since: Timestamp, touch: Touch, deadline: float
) -> tuple[int, int]:
    """Return how many files were modified since, and how many are missing."""
    modified = missing = 0
    latest_ns = since * 1_000_000 + 999_999
    is_real: dict[bytes, bool] = {}
    parent, folder, shown = None, b"", ""
    for number, path in enumerate(paths):
        slash = path.rfind(b"/")
        if slash == 0:
            raise _NotMeasured
        if path[: max(slash, 0)] != parent:
            parent = path[: max(slash, 0)]
            folder = b"%b/%b" % (root, path[: slash + 1])
            shown = os.fsdecode(folder[:-1])
            _look_at_folder(root, parent, is_real, touch)
            touch(shown)
        if number % _FILES_PER_LOOK == 0:
            touch(shown)
            if time.monotonic() > deadline:
                raise _NotMeasured
        if parent and not is_real[parent]:
            missing += 1
            continue
        name = path[slash + 1 :]
        if name in _NO_NAMES:
            raise _NotMeasured
        try:
            found = os.lstat(folder + name)
        except FileNotFoundError:
            missing += 1
            continue
        if stat.S_ISDIR(found.st_mode):
            missing += 1
        elif found.st_mtime_ns > latest_ns:
            modified += 1
    if missing == len(paths) > 0:  # the files are somewhere else, by `core.worktree`
        raise _NotMeasured
    return modified, missing


def _look_at_folder(root: bytes, folder: bytes, is_real: dict[bytes, bool], touch: Touch) -> None:
    """Add *folder*, and those above it in *root*, to *is_real*: whether each is a real folder.

    Nothing that is tracked is behind a symlink.
    """
    part = b""
    for name in folder.split(b"/") if folder else ():
        if name in _NO_NAMES or (os.name == "nt" and (b"\\" in name or b":" in name)):
            raise _NotMeasured
        above, part = part, (b"%b/%b" % (part, name) if part else name)
        if part not in is_real:
            path = b"%b/%b" % (root, part)
            touch(os.fsdecode(path))
            is_real[part] = is_real.get(above, True) and _is_folder(path)


def _is_folder(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
