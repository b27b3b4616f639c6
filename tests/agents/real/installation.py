"""Installs real agents for the tests, each from the npm registry in exactly one version.

They lie in a folder that git ignores, or in that which SEGUE_AGENTS_CACHE names, and are installed
again only when their lock file changes.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.builds import NPM, build_once, digest, node_version, run

HERE = Path(__file__).resolve().parent
PACKAGES = HERE / "packages"
CACHE = Path(os.environ.get("SEGUE_AGENTS_CACHE") or HERE / ".installed")
SHARED_CACHE = Path.home() / ".cache" / "segue-tests" / "agents"
"""Where the long programmes install them: outside of the repository, for all of its clones."""

MINIMUM_NODE = 20

_FILES = ("package.json", "package-lock.json", ".npmrc")


def missing_requirements() -> list[str]:
    """Return what this machine lacks, as text for an error message; empty if the tests can run."""
    missing = []
    if sys.platform != "linux":
        missing.append("Linux")
    if node_version() < MINIMUM_NODE or shutil.which("npm") is None:
        missing.append(f"Node {MINIMUM_NODE} or later, with npm")
    return missing


def is_required() -> bool:
    """Return whether a missing requirement fails the tests instead of skipping them."""
    return os.environ.get("CI") == "true" or os.environ.get("SEGUE_REQUIRE_AGENTS") == "1"


def install(name: str, command: str, after: list[str]) -> Path:
    """Return the folder that has *command*, of the agent *name*, after installing it if necessary.

    *after* is run in its folder then. Raises RuntimeError with the output of what fails.
    """
    folder = CACHE / name
    files = [PACKAGES / name / each for each in _FILES]

    def build(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        # No scripts: those of Gemini CLI's parts would compile what is there compiled.
        run([*NPM, "ci", "--ignore-scripts"], folder)
        if after:
            run(after, folder)
        programs = folder / "node_modules" / ".bin"
        # Some bring the Node that they need.
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        run(["env", f"PATH={path}", command, "--version"], folder)

    build_once(folder, digest([*files, Path(__file__)]), build)
    return folder / "node_modules" / ".bin"
