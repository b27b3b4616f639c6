"""Installs acpx for the tests, from the npm registry in exactly one version."""

import os
import platform
import shutil
import sys
from pathlib import Path

from tests.builds import NPM, build_once, digest, node_version, run

HERE = Path(__file__).resolve().parent
FOLDER = HERE / ".installed" / "acpx"
PROGRAMS = FOLDER / "node_modules" / ".bin"
"""Has `acpx`, and the `node` that it needs."""

MINIMUM_NODE = 20

_FILES = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]


def missing_requirements() -> list[str]:
    """Return what this machine lacks, as text for an error message; empty if the tests can run."""
    missing = []
    if sys.platform != "linux" or platform.machine() not in ("aarch64", "x86_64"):
        missing.append("Linux on x86_64 or aarch64")
    if node_version() < MINIMUM_NODE or shutil.which("npm") is None:
        missing.append(f"Node {MINIMUM_NODE} or later, with npm")
    return missing


def is_required() -> bool:
    """Return whether a missing requirement fails the tests instead of skipping them."""
    return os.environ.get("CI") == "true" or os.environ.get("SEGUE_REQUIRE_AGENTS") == "1"


def install() -> None:
    """Install it, unless it is up to date. Raises RuntimeError with the output of what fails."""
    build_once(FOLDER, digest([*_FILES, Path(__file__)]), _install)


def _install(folder: Path) -> None:
    for file in _FILES:
        shutil.copy(file, folder)
    # Not "ci": the registry, and so the lock file, lacks parts for other platforms.
    run([*NPM, "install", "--ignore-scripts"], folder)
