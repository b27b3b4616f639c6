"""What the tests install from the npm registry or build: once, in folders that git ignores."""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

NPM = ["npm", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]


def node_version() -> int:
    """Return the major version of the Node on PATH, or 0 if there is none."""
    if shutil.which("node") is None:
        return 0
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return int(version.stdout.lstrip("v").split(".")[0] or 0)


def build_once(folder: Path, inputs: str, build: Callable[[Path], None]) -> None:
    """Let *build* fill an empty *folder*, unless it already holds a build of the same *inputs*.

    A file lock lets one process build while the others wait. The stamp is written last, so a build
    that was interrupted is repeated from the start.
    """
    with file_lock(folder.with_suffix(".lock")):
        stamp = folder / "made-from"
        if stamp.exists() and stamp.read_text() == inputs:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        build(folder)
        stamp.write_text(inputs)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock on *path*; the kernel releases it if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(files: Iterable[Path]) -> str:
    """Return a hash of the names and the contents of *files*."""
    result = hashlib.sha256()
    for path in files:
        result.update(f"{path.relative_to(ROOT)}\0".encode())
        result.update(hashlib.sha256(path.read_bytes()).digest())
    return result.hexdigest()


def run(command: list[str], directory: Path) -> None:
    """Run a command. Raises RuntimeError with its output if it fails."""
    result = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
