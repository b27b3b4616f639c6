"""Installs a headless VS Code for the tests, and packages the extension.

`python -m tests.editors.vscode_host` does both. The host is code-server, the real workbench and
extension host: about 740 MB from the npm registry, in a folder that git ignores. Each build is
cached and repeated only when its inputs change.
"""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.builds import NPM, ROOT, build_once, digest, node_version, run

HERE = Path(__file__).resolve().parent
EXTENSION = ROOT / "editors" / "vscode"
TEST_FILES = HERE / "vscode"
CACHE = HERE / ".vscode"
HOST = CACHE / "host"
CODE_SERVER = HOST / "node_modules" / "code-server"
ARCHITECTURE = {"aarch64": "arm64", "x86_64": "x64"}.get(platform.machine(), platform.machine())
NODE = HOST / "node_modules" / f"node-linux-{ARCHITECTURE}" / "bin" / "node"
MINIMUM_NODE = 20

INSTALL_FLAGS = ["--ignore-scripts", "--omit=dev", "--force"]  # --force: another Node runs npm


def missing_requirements() -> list[str]:
    """Return what this machine lacks, as text for an error message; empty if the tests can run."""
    missing = []
    if sys.platform != "linux" or ARCHITECTURE not in ("arm64", "x64"):
        missing.append("Linux on x86_64 or aarch64")
    if node_version() < MINIMUM_NODE or shutil.which("npm") is None:
        missing.append(f"Node {MINIMUM_NODE} or later, with npm")
    if find_chromium() is None:
        missing.append("Chromium (apt-get install chromium)")
    if not (EXTENSION / "package.json").exists():
        missing.append("the extension in editors/vscode")
    return missing


def is_required() -> bool:
    """Return whether a missing requirement fails the tests instead of skipping them."""
    return os.environ.get("CI") == "true" or os.environ.get("SEGUE_REQUIRE_VSCODE") == "1"


def find_chromium() -> str | None:
    """Return the path of a browser that can run the workbench, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def install() -> None:
    """Install the host, unless it is up to date."""
    names = ("package.json", "package-lock.json", "spdlog.js")
    inputs = digest([*(TEST_FILES / name for name in names), Path(__file__)])
    build_once(HOST, inputs, install_host)


def install_host(folder: Path) -> None:
    """Install code-server and Playwright into *folder*, without running install scripts.

    The install script of code-server compiles native modules and downloads files from other sites.
    The tests need neither.
    """
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(TEST_FILES / name, folder)
    run([*NPM, "ci", *INSTALL_FLAGS], folder)
    workbench = folder / CODE_SERVER.relative_to(HOST) / "lib" / "vscode"
    run([*NPM, "install", *INSTALL_FLAGS], workbench)  # not "ci": its lock file lacks a package
    run([*NPM, "install", *INSTALL_FLAGS], workbench / "extensions")
    (workbench / "node_modules.asar").symlink_to("node_modules")
    shutil.copy(
        TEST_FILES / "spdlog.js", workbench / "node_modules" / "@vscode" / "spdlog" / "index.js"
    )


def package() -> Path:
    """Return the path of the packaged extension, rebuilt if its sources or the server's changed."""
    folder = CACHE / "package"
    build_once(folder, digest(find_sources()), package_extension)
    return folder / "segue.vsix"


def package_extension(folder: Path) -> None:
    """Package the extension as for publication, and unpack a copy beside the package."""
    install_extension_packages()
    vsix = folder / "segue.vsix"
    run([*NPM, "run", "package", "--", "--out", str(vsix)], EXTENSION)
    with zipfile.ZipFile(vsix) as archive:
        archive.extractall(folder)


def find_downloads() -> Path:
    """Return the folder of the wheels for the extension, as they are in the registry."""
    command = [sys.executable, str(EXTENSION / "bundle_server.py"), "--downloads"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def install_extension_packages() -> None:
    """Install the build dependencies of the extension, unless they are up to date."""
    lock = EXTENSION / "package-lock.json"
    build_once(CACHE / "npm-ci", digest([lock]), lambda _: run([*NPM, "ci"], EXTENSION))


def find_sources() -> Iterator[Path]:
    """Yield every source file of the packaged extension, sorted by name."""
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    paths = ["editors/vscode", "server", "pyproject.toml", "README.md", "LICENSE"]
    listed = subprocess.run([*list_files, *paths], cwd=ROOT, check=True, capture_output=True)
    for name in sorted(listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            yield ROOT / name


if __name__ == "__main__":
    if missing := missing_requirements():
        sys.exit("missing: " + ", ".join(missing))
    install()
    print(package())  # noqa: T201  the output of this script
