"""Makes a release of the working tree for the tests, as `.ci/release.py` makes one of a commit."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.builds import ROOT, build_once, digest
from tests.editors import vscode_host

FOLDER = vscode_host.CACHE / "release"
CLONE = FOLDER / "clone"
"""The repository with the commit that was released."""


def latest_release() -> Path:
    """Return the folder of a release of the working tree, made anew if a source has changed.

    With the variable SEGUE_RELEASE, that folder: to test what will be published.
    """
    if published := os.environ.get("SEGUE_RELEASE"):
        return Path(published)
    sources = [*vscode_host.find_sources(), *(ROOT / ".ci").glob("*.py"), Path(__file__)]
    build_once(FOLDER, digest(sorted(sources)), _make)
    return FOLDER / "out"


def _make(folder: Path) -> None:
    commit_working_tree(CLONE)
    make_release(CLONE, folder / "checkout", folder / "out")


def commit_working_tree(clone: Path) -> None:
    """Make a clone of this repository with one more commit: the working tree."""
    git = ["git", "-C", str(clone), "-c", "user.name=Tests", "-c", "user.email=tests@localhost"]
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        (clone / name).unlink(missing_ok=True)
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    subprocess.run([*git, "add", "--all"], check=True)
    commit = [*git, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "tests"]
    subprocess.run(commit, check=True)


def make_release(source: Path, checkout: Path, folder: Path, *options: str) -> None:
    """Make a release in *folder* from a fresh *checkout* of the repository *source*."""
    subprocess.run(["git", "clone", "--quiet", "--shared", source, checkout], check=True)
    (checkout / ".git" / "info" / "exclude").write_text(".venv\n")
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    cache = {"SEGUE_WHEELS_CACHE": str(vscode_host.EXTENSION / ".build" / "wheels")}
    python = checkout / ".venv" / "bin" / "python"
    result = subprocess.run(
        [python, checkout / ".ci" / "release.py", folder, *options],
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
