"""Another user prepares the place of a database: files, links and folders that are not ours.

Whatever was prepared, a real server refuses it in words, or keeps it private: the other user, who
then reads every file and writes to every folder that the system lets him, never finds what was
said, and what was his, or what his links name, is unchanged. Needs root, to act as another user;
without it the count `skipped` says so.
"""

import contextlib
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from segue.cli.client import Client, RequestError
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import Json, open_new, sandbox, silent_stderr, user_message

ROUNDS: dict[Size, int] = {"short": 1, "long": 20}
FILES: dict[Size, int] = {"short": 2, "long": 6}
"""How many of a database's files are harmed in each way, chosen at random."""

STRANGER = 54_321
CANARY = "canary-9b1f7e"
SUFFIXES = ("", "-wal", "-shm", "-journal", "-lock", "-write.lock")

READ = "nobody else can read what was said"
WRITTEN = "what is not ours is left as it is"
IN_WORDS = "a foreign file is refused in words that name it"
PRIVATE = "every file of the store is its owner's alone"
ANSWERS = "the server goes on answering"

Harm = Callable[[Path], None]


class NotRootError(Exception):
    """This process cannot act as another user."""


def as_stranger(work: Callable[[], int]) -> int:
    """Return the result of *work*, 0 to 255, done by another user in a process of his own."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 255
    try:
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        os.umask(0)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def make(work: Callable[[], object]) -> None:
    """Let the stranger do *work*, which must succeed."""

    def done() -> int:
        work()
        return 0

    if code := as_stranger(done):
        raise RuntimeError(f"the stranger could not prepare the place ({code})")


# -- what the stranger prepares ----------------------------------------------------------------


def own_file(path: Path) -> None:
    """Put a file of his own there, which everybody may use."""
    make(lambda: path.write_bytes(b""))


def link(path: Path) -> None:
    """Put a link there that leads to a file of his."""
    target = path.parent.parent / "stranger" / "target"
    make(lambda: target.write_bytes(b""))
    make(lambda: path.symlink_to(target))


def link_into_home(path: Path) -> None:
    """Put a link there that leads to a place in the victim's home."""
    make(lambda: path.symlink_to(path.parent.parent / "home" / "made"))


def second_name(path: Path) -> None:
    """Keep another name of a file that lies there."""
    path.write_bytes(b"")
    path.chmod(0o666)
    (path.parent.parent / "stranger" / "name").hardlink_to(path)


def pipe(path: Path) -> None:
    """Put a named pipe there."""
    make(lambda: os.mkfifo(path))


def directory(path: Path) -> None:
    """Put a folder there."""
    make(path.mkdir)


HARMS: dict[str, Harm] = {
    "file": own_file, "link": link, "link into the home": link_into_home,
    "second name": second_name, "pipe": pipe, "folder": directory,
}  # fmt: skip


def open_folder(folder: Path) -> None:
    """Leave the folder open to everybody."""
    folder.chmod(0o777)


def sticky_folder(folder: Path) -> None:
    """Leave the folder as `/tmp` is."""
    folder.chmod(0o1777)


def foreign_group(folder: Path) -> None:
    """Leave the folder open to a group that the stranger is in."""
    os.chown(folder, -1, STRANGER)
    folder.chmod(0o770)


def foreign_folder(folder: Path) -> None:
    """Give the folder to the stranger."""
    os.chown(folder, STRANGER, STRANGER)


def open_parent(folder: Path) -> None:
    """Leave the folder above open, so that the stranger can rename this one."""
    folder.parent.chmod(0o777)


FOLDERS: dict[str, Harm] = {
    "open": open_folder, "sticky": sticky_folder, "group": foreign_group,
    "foreign": foreign_folder, "open above": open_parent,
}  # fmt: skip


# -- what the stranger finds -------------------------------------------------------------------


def canaries_found(place: Path) -> int:
    """Return how many files under *place* show the stranger what was said, up to 200."""

    def read_all() -> int:
        found = 0
        for folder, _, names in os.walk(place):
            for name in names:
                with contextlib.suppress(OSError):
                    path = os.path.join(folder, name)
                    if os.path.isfile(path):
                        with open(path, "rb") as file:
                            found += CANARY.encode() in file.read()
        return min(found, 200)

    return as_stranger(read_all)


@contextlib.contextmanager
def reachable_place() -> Iterator[Path]:
    """Yield a folder that every user can enter, with a folder of the victim and his home."""
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="segue-foreign-")))
    try:
        place.chmod(0o755)
        for name, mode in (("data", 0o777), ("home", 0o700), ("stranger", 0o777)):
            (place / name).mkdir()
            (place / name).chmod(mode)
        yield place
    finally:
        shutil.rmtree(place)


class Trial:
    """One prepared place, and a server that is told to keep its database there."""

    def __init__(self, report: Report, place: Path, label: str) -> None:
        self._report = report
        self._place = place
        self._label = label
        self._database = place / "data" / "sessions.db"

    def run(self, named: Path | None) -> None:
        """Say something; expect an error that names *named*, or if None that it is stored."""
        before = self._foreign()
        client = Client(self._place, {"SEGUE_DATABASE": str(self._database)})
        try:
            client.initialize()
            kind, message = self._say(client)
            self._ask(client)
            found = canaries_found(self._place)
        finally:
            client.kill()
        report, label = self._report, self._label
        report.expect(found == 0, READ, label)
        report.expect(self._foreign() == before, WRITTEN, label)
        if named is None:
            report.expect(kind is None, ANSWERS, f"{label}: {message}")
            report.expect(self._is_private(), PRIVATE, label)
            report.count("kept private")
        else:
            in_words = kind == "StorageUnavailable" and str(named) in message
            report.expect(in_words, IN_WORDS, f"{label}: {kind} {message}")
            report.count("refused")

    def _say(self, client: Client) -> tuple[str | None, str]:
        params: Json = {"events": [user_message(CANARY)]}
        try:
            client.request("session/append", params | {"sessionId": open_new(client)})
        except RequestError as error:
            return error.kind or str(error.code), error.message
        return None, ""

    def _ask(self, client: Client) -> None:
        with contextlib.suppress(RequestError):
            client.request("session/list")
        self._report.count("answers")

    def _foreign(self) -> dict[str, tuple[int, ...]]:
        """Return the state of everything that is the stranger's, or that his links name."""
        found = {}
        for folder, folders, names in os.walk(self._place):
            for name in (*folders, *names):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if status.st_uid == STRANGER or "/home/" in path or status.st_nlink > 1:
                    found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_uid)
        return {path: each for path, each in found.items() if not os.path.isdir(path)}

    def _is_private(self) -> bool:
        return all(
            not each.lstat().st_mode & 0o077 and each.lstat().st_uid == os.geteuid()
            for each in self._database.parent.iterdir()
        )


def try_files(report: Report, rng: random.Random) -> None:
    """Try each harm in the place of some files, prepared while the folder was open."""
    for name, harm in HARMS.items():
        for suffix in rng.sample(SUFFIXES, FILES[report.size]):
            if not suffix and name == "link into the home":
                continue  # that is where a link of the victim's own would lead
            with reachable_place() as place:
                path = place / "data" / f"sessions.db{suffix}"
                harm(path)
                path.parent.chmod(0o755)
                linked = not suffix and name == "link"
                named = place / "stranger" if linked else path
                Trial(report, place, f"{name} at sessions.db{suffix}").run(named)


def try_folders(report: Report) -> None:
    """Try each harm to the folder."""
    for name, harm in FOLDERS.items():
        with reachable_place() as place:
            folder = place / "data"
            folder.chmod(0o755)
            harm(folder)
            named = place if name == "open above" else folder
            Trial(report, place, f"folder {name}").run(named)


def try_modes(report: Report, rng: random.Random) -> None:
    """Let a store of any modes be used again: it is private, and says what was said before."""
    with reachable_place() as place:
        (place / "data").chmod(0o755)
        os.umask(0)
        Trial(report, place, "umask 0").run(None)
        for path in (place / "data").iterdir():
            path.chmod(0o600 | rng.randrange(0o100))
        Trial(report, place, "modes that others can use").run(None)


def run(report: Report, rng: random.Random) -> None:
    """Try everything that the stranger can prepare."""
    if os.name != "posix" or os.geteuid() != 0:
        report.counts["skipped"] = "only root can act as another user"
        return
    with sandbox(), silent_stderr():
        for _ in range(ROUNDS[report.size]):
            try_files(report, rng)
            try_folders(report)
            try_modes(report, rng)


if __name__ == "__main__":
    main(run)
