"""A real VS Code without a screen: what it is made of, and how it gets onto this machine.

`python tests/editors/vscode_host.py` installs it and packages the extension. It is code-server, the
real workbench and extension host, of about 740 MB from the npm registry, in a folder that git
ignores. It is made once, and made again when what it is made from has changed.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXTENSION = ROOT / "editors" / "vscode"
PARTS = HERE / "vscode"
CACHE = HERE / ".vscode"
HOST = CACHE / "host"
CODE_SERVER = HOST / "node_modules" / "code-server"
MACHINE = {"aarch64": "arm64", "x86_64": "x64"}.get(platform.machine(), platform.machine())
NODE = HOST / "node_modules" / f"node-linux-{MACHINE}" / "bin" / "node"
OLDEST_NODE = 20

NPM = ["npm", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
QUIET = ["--ignore-scripts", "--omit=dev", "--force"]  # --force: npm runs on another Node


def missing() -> list[str]:
    """Tell what this machine lacks, in words for a person; nothing, if the tests can run."""
    lacks = []
    if sys.platform != "linux" or MACHINE not in ("arm64", "x64"):
        lacks.append("Linux on x86_64 or aarch64")
    if node_version() < OLDEST_NODE or shutil.which("npm") is None:
        lacks.append(f"Node {OLDEST_NODE} or later, with npm")
    if chromium() is None:
        lacks.append("Chromium (apt-get install chromium)")
    if not (EXTENSION / "package.json").exists():
        lacks.append("the extension in editors/vscode")
    return lacks


def must_run() -> bool:
    """Tell whether it is a failure, not a reason to skip, that something is missing."""
    return os.environ.get("CI") == "true" or os.environ.get("SEGUE_REQUIRE_VSCODE") == "1"


def chromium() -> str | None:
    """Return a browser that the workbench runs in."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def node_version() -> int:
    """Return the major version of the Node on PATH; 0 if there is none."""
    if shutil.which("node") is None:
        return 0
    asked = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return int(asked.stdout.lstrip("v").split(".")[0] or 0)


def install() -> None:
    """Install the host, unless it stands already."""
    names = ("package.json", "package-lock.json", "spdlog.js")
    made_from = digest([*(PARTS / name for name in names), Path(__file__)])
    made_once(HOST, made_from, install_host)


def install_host(folder: Path) -> None:
    """Install code-server and what drives it, without its own install script.

    That script compiles, and downloads from elsewhere; nothing of this is needed here.
    """
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(PARTS / name, folder)
    run([*NPM, "ci", *QUIET], folder)
    workbench = folder / CODE_SERVER.relative_to(HOST) / "lib" / "vscode"
    run([*NPM, "install", *QUIET], workbench)  # not "ci": their lock lacks a package
    run([*NPM, "install", *QUIET], workbench / "extensions")
    (workbench / "node_modules.asar").symlink_to("node_modules")
    shutil.copy(PARTS / "spdlog.js", workbench / "node_modules" / "@vscode" / "spdlog" / "index.js")


def package() -> Path:
    """Return the packaged extension, made again if its sources or the server's have changed."""
    folder = CACHE / "package"
    made_once(folder, digest(sources()), package_extension)
    return folder / "segue.vsix"


def package_extension(folder: Path) -> None:
    """Package the extension as it is published."""
    install_extension_packages()
    vsix = folder / "segue.vsix"
    run([*NPM, "run", "package", "--", "--out", str(vsix)], EXTENSION)
    with zipfile.ZipFile(vsix) as archive:
        archive.extractall(folder)


def install_extension_packages() -> None:
    """Install what the extension is built with, if that has changed."""
    lock = EXTENSION / "package-lock.json"
    made_once(CACHE / "npm-ci", digest([lock]), lambda _: run([*NPM, "ci"], EXTENSION))


def sources() -> Iterator[Path]:
    """Yield every file that the packaged extension is made from."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    wanted = ["editors/vscode", "server", "pyproject.toml", "README.md", "LICENSE"]
    found = subprocess.run([*listed, *wanted], cwd=ROOT, check=True, capture_output=True)
    for name in sorted(found.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            yield ROOT / name


def made_once(folder: Path, made_from: str, make: Callable[[Path], None]) -> None:
    """Let *make* fill a folder, unless it is full already with what is made from this.

    One process makes while the others wait. The stamp comes last: what was left half made by a
    process that was killed is made again from the start.
    """
    with locked(folder.with_suffix(".lock")):
        stamp = folder / "made-from"
        if stamp.exists() and stamp.read_text() == made_from:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        stamp.write_text(made_from)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that dies with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(files: Iterable[Path]) -> str:
    """Return what changes when the names or the contents of files do."""
    seen = hashlib.sha256()
    for path in files:
        seen.update(f"{path.relative_to(ROOT)}\0".encode())
        seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()


def run(command: list[str], directory: Path) -> None:
    """Run a command; what it said is shown if it fails."""
    ended = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")


if __name__ == "__main__":
    if lacks := missing():
        sys.exit("missing: " + ", ".join(lacks))
    install()
    print(package())  # noqa: T201
