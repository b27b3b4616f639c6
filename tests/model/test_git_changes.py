"""What changed in a checkout since a time, compared with what git says, and with hostile files."""

import os
import shlex
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segue.model import git_changes
from segue.model.git_changes import GitChanges, Head, measure_changes
from segue.model.records import Timestamp
from tests import fuse

BEFORE_S = int(time.time()) - 3_000
SINCE = Timestamp((BEFORE_S + 1_000) * 1_000)
"""The last event: after what a test does first, and before what it does next."""


class Checkout:
    """A checkout in which a few files were committed before SINCE, and git as the judge."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._then: str | None = str(BEFORE_S)

    def git(self, command: str) -> str:
        """Run git in the checkout, before SINCE until `pass_time` is called; return its output."""
        environment = {
            **os.environ,
            **{f"GIT_{who}_NAME": "A" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "a@b" for who in ("AUTHOR", "COMMITTER")},
            "GIT_EDITOR": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        if self._then is not None:
            environment["GIT_COMMITTER_DATE"] = f"@{self._then} +0000"
        allowed = ["-c", "protocol.file.allow=always", "-c", "commit.gpgSign=false"]
        return subprocess.run(
            ["git", "-C", self.root, *allowed, *shlex.split(command)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, *names: str) -> None:
        """Write a file of each name and commit it."""
        for name in names:
            self.write(name)
            self.git(f"add {name}")
            self.git(f"commit -q -m 'commit {name}'")

    def write(self, name: str) -> None:
        """Write other content to a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{time.monotonic_ns()}\n")

    def pass_time(self) -> None:
        """End the time before SINCE: all files have an older time from here on."""
        self._then = None
        for folder, _, names in os.walk(self.root):
            for name in names:
                os.utime(os.path.join(folder, name), (BEFORE_S, BEFORE_S), follow_symlinks=False)

    def head(self) -> Head:
        """Return where HEAD is, as git says it."""
        commit = self.git("rev-parse HEAD")
        try:
            return Head(commit, branch=self.git("symbolic-ref --short HEAD"))
        except subprocess.CalledProcessError:
            return Head(commit, is_detached=True)

    def changed_since(self, commit: str) -> int:
        """Return how many of the tracked files git finds to differ from *commit*, now."""
        return len(self.git(f"diff --name-only --diff-filter=AM {commit}").splitlines())

    def measure(self) -> GitChanges:
        """Return what changed since SINCE."""
        measured = measure_changes(str(self.root), SINCE, lambda path: None)
        assert measured is not None
        return measured


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no measurement fail because the machine is busy."""
    monkeypatch.setattr(git_changes, "LONGEST_S", 60.0)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(Path(os.path.realpath(tmp_path)) / "checkout")
    made.root.mkdir()
    made.git("init -q -b main")
    made.commit("a", "b", "src/c", "src/deep/d")
    return made


def run(checkout: Checkout, steps: str) -> None:
    """Run steps: git commands, or `write` and `file`, which writes and commits one."""
    for step in filter(None, map(str.strip, steps.split(";"))):
        command, _, rest = step.partition(" ")
        if command == "write":
            checkout.write(rest)
        elif command == "file":
            checkout.commit(rest)
        elif command == "missing":
            (checkout.root / rest).unlink()
        else:
            checkout.git(step)


TWO = "switch -q -c topic; file t1; file t2; switch -q main; file m1"

SCENARIOS: dict[str, tuple[str, str, int | None]] = {
    "nothing": ("", "", 0),
    "commits": ("", "file x; file y", 2),
    "a commit that is amended": ("", "file x; commit -q --amend -m other; file y", 2),
    "an older commit is amended": ("", "commit -q --amend -m other", None),
    "a new branch": ("", "switch -q -c topic; file x", 1),
    "a branch": (TWO, "switch -q topic", 0),
    "a branch with a path": ("branch feature/one", "switch -q feature/one; file x", 1),
    "two branches": (TWO, "switch -q topic; file x; switch -q main; file y", 2),
    "back again": (TWO, "switch -q topic; switch -q main", 0),
    "detached": ("", "switch -q --detach HEAD~1", 0),
    "was detached": ("switch -q --detach HEAD~1", "switch -q main", 0),
    "stays detached": ("switch -q --detach HEAD~1", "file x", 1),
    "a tag": ("tag v1 HEAD~1", "checkout -q v1", 0),
    "renamed": ("", "branch -m other; file x", 1),
    "stash": ("", "write a; stash -q; stash pop -q", 0),
    "reset": ("", "reset -q --hard HEAD~1", None),
    "commits and reset": ("", "file x; file y; reset -q --hard HEAD~1", None),
    "a fast-forward": (f"{TWO}; reset -q --hard HEAD~1", "merge -q topic", None),
    "a merge": (TWO, "merge -q --no-edit topic", None),
    "cherry-pick and revert": (TWO, "cherry-pick topic; revert --no-edit HEAD", 2),
    "a cherry-pick that makes no commit": (
        f"{TWO}; reset -q --hard HEAD~1",
        "cherry-pick --ff topic~1",
        None,
    ),
    "rebase": (f"{TWO}; switch -q topic", "rebase -q main", None),
    "rebase after a switch": (TWO, "switch -q topic; file x; rebase -q main; file y", None),
    "packed refs": ("", "file x; pack-refs --all --prune", 1),
    "collected garbage": (TWO, "switch -q topic; file x; gc -q", 1),
    "an index of version 4": ("update-index --index-version 4", "write src/c; write a", 0),
    "an executable": ("", "update-index --chmod=+x a; write b", 0),
    "intent to add": ("", "write new; add -N new", 0),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_git_says_is_measured(checkout: Checkout, name: str) -> None:
    before, after, commits = SCENARIOS[name]
    run(checkout, before)
    then = checkout.head()
    checkout.pass_time()
    run(checkout, after)
    measured = checkout.measure()
    assert (measured.now, measured.then) == (checkout.head(), then)
    assert measured.commits == commits
    assert measured.modified is not None
    assert measured.missing == 0
    assert then.commit is not None
    # A file that was changed and changed back has a later time, and no difference.
    assert measured.modified >= checkout.changed_since(then.commit)
    if commits is not None and measured.now.branch == then.branch and "switch" not in after:
        assert int(checkout.git(f"rev-list --count {then.commit}..HEAD")) == commits


@pytest.mark.parametrize("version", [2, 3, 4])
def test_files_that_were_written_are_counted(checkout: Checkout, version: int) -> None:
    names = [f"{'x' * (number % 90 + 1)}/é{number}" for number in range(300)]
    for name in names:
        checkout.write(name)
    checkout.git("add .")
    if version == 3:
        checkout.write("intended")
        checkout.git("add -N intended")
    checkout.git("commit -q -m many")
    checkout.git(f"update-index --index-version {version}")
    assert (checkout.root / ".git/index").read_bytes()[7] == version
    then = checkout.git("rev-parse HEAD")
    checkout.pass_time()
    for name in names[::7]:
        checkout.write(name)
    for name in names[1::70]:
        (checkout.root / name).unlink()
    measured = checkout.measure()
    assert measured.modified == len(names[::7]) == checkout.changed_since(then) - (version == 3)
    assert measured.missing == len(names[1::70])


def test_what_took_the_place_of_a_file_is_not_it(checkout: Checkout, tmp_path: Path) -> None:
    checkout.pass_time()
    (checkout.root / "a").unlink()
    (checkout.root / "a").mkdir()
    (checkout.root / "src").rename(tmp_path / "src")
    (checkout.root / "src").symlink_to(tmp_path / "src")
    measured = checkout.measure()
    assert (measured.modified, measured.missing) == (0, 3), "nothing is tracked behind a symlink"


def test_files_in_conflict_are_counted_once(checkout: Checkout) -> None:
    run(checkout, "switch -q -c topic; file a; switch -q main; file a")
    checkout.pass_time()
    with pytest.raises(subprocess.CalledProcessError):
        checkout.git("merge -q topic")
    assert checkout.measure().modified == 1


def test_a_worktree_has_its_own_head_and_index(checkout: Checkout) -> None:
    checkout.git("worktree add -q ../tree -b tree")
    tree = Checkout(checkout.root.parent / "tree")
    tree.commit("x")
    then = tree.head()
    for each in (tree, checkout):
        each.pass_time()
    checkout.commit("y")
    assert tree.measure() == GitChanges(now=then, then=then, commits=0, modified=0, missing=0)
    tree.commit("z")
    checkout.git("pack-refs --all")
    measured = tree.measure()
    assert measured == GitChanges(now=tree.head(), then=then, commits=1, modified=1, missing=0)


def test_a_submodule_is_a_checkout_of_its_own(checkout: Checkout, tmp_path: Path) -> None:
    outer = Checkout(Path(os.path.realpath(tmp_path)) / "outer")
    outer.root.mkdir()
    outer.git("init -q -b main")
    outer.git(f"submodule add -q {checkout.root} inner")
    outer.git("commit -q -m submodule")
    inner = Checkout(outer.root / "inner")
    inner.commit("x")
    outer_then, inner_then = outer.head(), inner.head()
    outer.pass_time()
    inner.pass_time()
    inner.commit("y")
    assert inner.measure() == GitChanges(
        now=inner.head(), then=inner_then, commits=1, modified=1, missing=0
    )
    assert outer.measure() == GitChanges(
        now=outer_then, then=outer_then, commits=0, modified=0, missing=0
    )


def test_a_repository_with_sha256(tmp_path: Path) -> None:
    checkout = Checkout(Path(os.path.realpath(tmp_path)) / "checkout")
    checkout.root.mkdir()
    checkout.git("init -q -b main --object-format=sha256")
    checkout.commit("a", "b/c")
    then = checkout.head()
    checkout.pass_time()
    checkout.commit("b/c")
    measured = checkout.measure()
    assert measured == GitChanges(now=checkout.head(), then=then, commits=1, modified=1, missing=0)


def test_pull_with_rebase(checkout: Checkout, tmp_path: Path) -> None:
    clone = Checkout(Path(os.path.realpath(tmp_path)) / "clone")
    checkout.git(f"clone -q {checkout.root} {clone.root}")
    run(clone, "switch -q -c topic origin/main; file x")
    then = clone.head()
    clone.pass_time()
    checkout.commit("m")
    clone.git("pull -q --rebase origin main")
    measured = clone.measure()
    assert (measured.now, measured.then, measured.commits) == (clone.head(), then, None)


# -- what is not said --------------------------------------------------------------------------


def test_a_rebase_that_switches_the_branch_leaves_it_open(checkout: Checkout) -> None:
    """`git rebase main topic` is not told from a rebase that began on topic."""
    run(checkout, "switch -q -c topic; file x; switch -q -c other main; file y")
    checkout.pass_time()
    then = checkout.git("rev-parse HEAD")
    checkout.git("rebase -q main topic")
    assert checkout.measure().then == Head(then)


def test_a_rebase_without_an_earlier_switch_leaves_the_branch_open(checkout: Checkout) -> None:
    checkout.pass_time()
    then = checkout.git("rev-parse HEAD")
    checkout.git("rebase -q --onto HEAD~2 HEAD~1")
    assert checkout.measure().then == Head(then)


def test_the_middle_of_a_rebase(checkout: Checkout) -> None:
    run(checkout, "switch -q -c topic; file a; switch -q main; file a; switch -q topic")
    then = checkout.git("rev-parse HEAD")
    checkout.pass_time()
    with pytest.raises(subprocess.CalledProcessError):
        checkout.git("rebase -q main")
    measured = checkout.measure()
    assert (measured.now, measured.then) == (checkout.head(), Head(then))
    checkout.git("rebase --abort")
    assert checkout.measure().then == Head(then, branch="topic")


def test_a_head_that_was_set_past_the_reflog_leaves_the_branch_open(checkout: Checkout) -> None:
    checkout.git("branch other")
    checkout.pass_time()
    (checkout.root / ".git/HEAD").write_text("ref: refs/heads/other\n")
    measured = checkout.measure()
    assert (measured.now.branch, measured.then) == ("other", Head(measured.now.commit))


def test_a_head_that_is_not_where_the_reflog_switched_to(checkout: Checkout) -> None:
    checkout.git("branch other")
    checkout.pass_time()
    checkout.git("switch -q -c topic")
    (checkout.root / ".git/HEAD").write_text("ref: refs/heads/other\n")
    assert checkout.measure().then == Head(checkout.git("rev-parse HEAD"))


def commits_past_the_reflog(checkout: Checkout) -> None:
    checkout.git("-c core.logAllRefUpdates=false update-ref refs/heads/main HEAD~1")
    path = checkout.root / ".git/logs/HEAD"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    checkout.git("update-ref refs/heads/main HEAD~1")
    path.write_bytes(b"".join(lines[:-1]))
    os.utime(path, (BEFORE_S, BEFORE_S))


def begins_after(checkout: Checkout) -> None:
    checkout.commit("x")
    path = checkout.root / ".git/logs/HEAD"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[-1])


def is_replaced(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    path.write_bytes(path.read_bytes())


def is_missing(checkout: Checkout) -> None:
    (checkout.root / ".git/logs/HEAD").unlink()


def is_at_the_same_second(checkout: Checkout) -> None:
    checkout._then = str(SINCE // 1_000)
    checkout.commit("x")


def has_a_clock_that_was_set_back(checkout: Checkout) -> None:
    checkout._then = str(BEFORE_S - 100)
    checkout.commit("x")
    checkout._then = None
    checkout.commit("y")


def has_later_times_that_disagree(checkout: Checkout) -> None:
    checkout.commit("x")
    checkout._then = str(SINCE // 1_000 + 500)
    checkout.commit("y")


def is_an_orphan(checkout: Checkout) -> None:
    checkout.git("checkout -q --orphan other")
    checkout.git("commit -q -m first")


def is_half_written(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    path.write_bytes(path.read_bytes()[:-1])


def is_garbage(checkout: Checkout) -> None:
    (checkout.root / ".git/logs/HEAD").write_bytes(os.urandom(300_000) + b"\n")


def is_a_symlink(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    path.rename(checkout.root / ".git/logs/else")
    path.symlink_to("else")


def is_a_fifo(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    path.unlink()
    os.mkfifo(path)


def is_longer_than_is_read(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    commit = checkout.git("rev-parse HEAD")
    now = int(time.time())
    line = f"{commit} {commit} A <a@b> {now} +0000\tcheckout: moving from main to main\n"
    with path.open("a") as file:
        file.write(line * 2_000)


NO_THEN: list[Callable[[Checkout], None]] = [
    commits_past_the_reflog,
    begins_after,
    is_replaced,
    is_missing,
    is_at_the_same_second,
    has_a_clock_that_was_set_back,
    has_later_times_that_disagree,
    is_an_orphan,
    is_half_written,
    is_garbage,
    is_a_symlink,
    is_a_fifo,
    is_longer_than_is_read,
]


@pytest.mark.parametrize("harm", NO_THEN, ids=lambda harm: harm.__name__)
def test_nothing_is_said_of_then_if_the_reflog(
    checkout: Checkout, harm: Callable[[Checkout], None]
) -> None:
    checkout.pass_time()
    harm(checkout)
    measured = checkout.measure()
    assert (measured.then, measured.commits) == (None, None)
    assert measured.now == checkout.head()
    assert measured.modified is not None


def test_what_is_no_regular_file_is_not_opened(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_a_fifo(checkout)
    opened: list[str] = []
    real_open = os.open

    def recording(path: str, flags: int) -> int:
        opened.append(os.path.relpath(path, checkout.root))
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", recording)
    checkout.measure()
    assert ".git/HEAD" in opened
    assert ".git/logs/HEAD" not in opened


def test_a_reflog_whose_tail_reaches_back_is_enough(checkout: Checkout) -> None:
    path = checkout.root / ".git/logs/HEAD"
    path.write_bytes(os.urandom(50_000_000) + b"\n" + path.read_bytes())
    then = checkout.head()
    # Its end must be longer than what is read, so that the garbage is not.
    with path.open("ab") as file:
        line = f"{then.commit} {then.commit} A <a@b> {BEFORE_S} +0000\treset: moving to HEAD\n"
        file.write(line.encode() * 3_000)
    checkout.pass_time()
    checkout.commit("x")
    began = time.monotonic()
    measured = checkout.measure()
    assert time.monotonic() - began < 2, "the whole of it is not read"
    assert (measured.then, measured.commits) == (then, 1)


def test_a_time_in_the_future_is_compared_with_nothing(checkout: Checkout) -> None:
    future = Timestamp(4_290_000_000_000)
    measured = measure_changes(str(checkout.root), future, lambda path: None)
    assert measured == GitChanges(now=checkout.head())


def test_a_branch_without_a_commit_has_only_a_name(tmp_path: Path) -> None:
    checkout = Checkout(Path(os.path.realpath(tmp_path)))
    checkout.git("init -q -b unborn")
    assert checkout.measure() == GitChanges(now=Head(None, branch="unborn"))


HEADS = {
    "a reftable": b"ref: refs/heads/.invalid\n",
    "nothing": b"",
    "garbage": bytes(range(256)),
    "a path out of it": b"ref: refs/heads/../../../secret\n",
    "an absolute path": b"ref: /etc/passwd\n",
    "a NUL": b"ref: refs/heads/a\0b\n",
    "a remote branch": b"ref: refs/remotes/origin/main\n",
    "an abbreviation": b"1a2b3c4\n",
    "too much": b"ref: refs/heads/main" + b"\n" * 5_000,
    "a ref to a ref": b"ref: refs/heads/link\n",
    "a folder of refs": b"ref: refs/heads/folder\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_said_if_head_is(checkout: Checkout, name: str) -> None:
    git = checkout.root / ".git"
    (git / "refs/heads/link").write_text("ref: refs/heads/main\n")
    (git / "refs/heads/folder").mkdir()
    (checkout.root.parent / "secret").write_text("1" * 40)
    (git / "HEAD").write_bytes(HEADS[name])
    assert measure_changes(str(checkout.root), SINCE, lambda path: None) is None


@pytest.mark.parametrize("content", [b"", b"gitdir: \0\n", b"gitdir: nowhere\n", b"\xff" * 70_000])
def test_nothing_is_said_if_dot_git_leads_nowhere(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)
    assert measure_changes(str(tmp_path), SINCE, lambda path: None) is None


def test_packed_refs_that_are_too_long_hide_the_commit(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.git("pack-refs --all")
    monkeypatch.setattr(git_changes, "MAX_PACKED_REFS_BYTES", 10)
    assert measure_changes(str(checkout.root), SINCE, lambda path: None) is None


def entry(path: bytes, mode: int = 0o100644, flags: int = 0) -> bytes:
    """Return an entry of an index of version 2."""
    made = struct.pack(">6I", 0, 0, 0, 0, 0, 0) + struct.pack(">4I", mode, 0, 0, 0) + bytes(20)
    made += struct.pack(">H", flags | min(len(path), 0xFFF)) + path
    return made + bytes(8 - len(made) % 8)


def index(*entries: bytes, version: int = 2, count: int | None = None, after: bytes = b"") -> bytes:
    """Return an index, with a checksum that is wrong."""
    number = len(entries) if count is None else count
    return struct.pack(">4sII", b"DIRC", version, number) + b"".join(entries) + after + b"x" * 20


V4_ENTRY = bytes(24) + struct.pack(">I", 0o100644) + bytes(12 + 20) + b"\0\1"

INDEXES = {
    "nothing": b"",
    "garbage": os.urandom(4_096),
    "of a later version": index(entry(b"a"), version=5),
    "shorter than it says": index(entry(b"a"), count=2),
    "said to be huge": index(entry(b"a"), count=0xFFFFFFFF),
    "cut": index(entry(b"a"), entry(b"b"))[:-40],
    "split": index(entry(b"a"), after=b"link" + struct.pack(">I", 20) + bytes(20)),
    "sparse": index(entry(b"src", 0o040000), after=b"sdir" + bytes(4)),
    "with an extension that does not end": index(entry(b"a"), after=b"TREE\xff\xff\xff\xff"),
    "with an absolute path": index(entry(b"/etc/passwd"), entry(b"a")),
    "with a path from the root": index(entry(b"/a"), entry(b"a")),
    "with a path to a folder above": index(entry(b"a"), entry(b"src/..")),
    "with a path out of it": index(entry(b"a"), entry(b"src/../../../etc/passwd")),
    "with a path into .git": index(entry(b"a"), entry(b".git/HEAD")),
    "with an empty path": index(entry(b""), entry(b"a")),
    "with a long path": index(entry(b"a/" * 4_000 + b"a")),
    "with a device": index(entry(b"a", 0o020000)),
    "of version 4, stripping too much": index(V4_ENTRY + b"\x7fa\0", version=4),
    "of version 4, with an endless number": index(V4_ENTRY + b"\xff" * 99, version=4),
    "of version 4, without an end": index(V4_ENTRY + b"\0" + b"a" * 50, version=4),
    "of files that are all elsewhere": index(entry(b"x"), entry(b"y")),
}


@pytest.mark.parametrize("name", INDEXES)
def test_no_number_of_files_is_said_if_the_index_is(checkout: Checkout, name: str) -> None:
    checkout.pass_time()
    (checkout.root / ".git/index").write_bytes(INDEXES[name])
    measured = checkout.measure()
    assert (measured.modified, measured.missing) == (None, None)
    assert measured.then is not None


def test_the_checksum_of_the_index_is_not_needed(checkout: Checkout) -> None:
    checkout.pass_time()
    (checkout.root / ".git/index").write_bytes(index(entry(b"a"), entry(b"gone")))
    assert (checkout.measure().modified, checkout.measure().missing) == (0, 1)


def test_an_index_that_git_makes_sparse_or_splits_is_not_counted(checkout: Checkout) -> None:
    checkout.git("sparse-checkout set --cone --no-sparse-index none")
    assert checkout.measure().modified is None
    checkout.git("sparse-checkout set --cone --sparse-index none")
    assert checkout.measure().modified is None
    checkout.git("sparse-checkout disable")
    assert checkout.measure().modified is not None
    checkout.git("update-index --split-index")
    assert checkout.measure().modified is None


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_TRACKED", 3), ("MAX_INDEX_BYTES", 64), ("LONGEST_S", -1.0)]
)
def test_an_index_over_a_limit_is_not_counted(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    checkout.pass_time()
    monkeypatch.setattr(git_changes, limit, value)
    measured = checkout.measure()
    assert (measured.modified, measured.then) == (None, checkout.head())


# -- mounts ------------------------------------------------------------------------------------


class Stopped(Exception):  # noqa: N818  a test's own signal
    """Raised by a touch."""


@pytest.fixture
def mount(checkout: Checkout) -> Iterator[Path]:
    if (reason := fuse.unavailable()) is not None:
        pytest.skip(reason)
    folder = checkout.root.parent / "mount"
    folder.mkdir()
    with fuse.hanging(folder):
        yield folder


def test_nothing_is_looked_at_on_a_mount_without_a_touch(checkout: Checkout, mount: Path) -> None:
    """A symlink or a `.git` that leads to a mount that hangs is followed only after a touch."""

    def touch(path: str) -> None:
        if path.startswith(str(mount)):
            raise Stopped

    checkout.pass_time()
    (checkout.root / "src").rename(checkout.root.parent / "src")
    (checkout.root / "src").symlink_to(mount)
    logs = checkout.root / ".git/logs"
    logs.rename(checkout.root / ".git/old")
    logs.symlink_to(mount)
    measured = measure_changes(str(checkout.root), SINCE, touch)
    assert measured == GitChanges(now=checkout.head(), modified=0, missing=2)
    elsewhere = checkout.root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".git").write_text(f"gitdir: {mount}/repository\n")
    with pytest.raises(Stopped):
        measure_changes(str(elsewhere), SINCE, touch)
