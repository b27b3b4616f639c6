"""The VS Code extension: type check, unit tests, and end-to-end tests in a real VS Code."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors import vscode_host
from tests.editors.neovim import wait_for_processes_to_exit

E2E_FILES = sorted(vscode_host.TEST_FILES.glob("*.test.mjs"))
E2E_TESTS = [
    (path, name)
    for path in E2E_FILES
    for name in re.findall(r'^test\("([^"]+)"', path.read_text(), re.MULTILINE)
]

pytestmark = pytest.mark.timeout(300)  # the first test may have to install VS Code


@pytest.fixture(scope="session")
def host(vscode_tools: None) -> None:
    """Install VS Code and package the extension, unless both are up to date."""
    vscode_host.install()
    vscode_host.package()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder whose path is short enough for sockets; no process may keep using it."""
    with tempfile.TemporaryDirectory(prefix="segue-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        left = wait_for_processes_to_exit(Path(name))
    assert not left, "left behind"


def run_tests(command: list[str], directory: Path, folder: Path) -> tuple[int, str]:
    """Run a test command; return its exit code and its output. It never outlives this call."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=os.environ | {"SEGUE_PYTHON": sys.executable, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


@pytest.mark.parametrize("script", ["typecheck", "test:unit"])
def test_npm_script(vscode_tools: None, folder: Path, script: str) -> None:
    vscode_host.install_extension_packages()
    code, output = run_tests(["npm", "run", "--silent", script], vscode_host.EXTENSION, folder)
    assert code == 0, output


@pytest.mark.parametrize(("path", "name"), E2E_TESTS, ids=[name for _, name in E2E_TESTS])
def test_in_vscode(host: None, folder: Path, path: Path, name: str) -> None:
    only = f"--test-name-pattern=^{re.escape(name)}$"
    node = [str(vscode_host.NODE), "--test", "--test-reporter=spec", only, str(path)]
    code, output = run_tests(node, path.parent, folder)
    assert code == 0, output
    assert re.search(r"^\S pass 1$", output, re.MULTILINE), output


def test_every_e2e_test_is_collected() -> None:
    written = sum(len(re.findall(r"(?<!\.)\btest\(", path.read_text())) for path in E2E_FILES)
    assert len(E2E_TESTS) == written
