"""The VS Code extension: its types, its pure modules, and what a person does in a real VS Code."""

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
from tests.editors.neovim import wait_until_nobody_is_left

FLOWS = vscode_host.PARTS / "flows.test.mjs"
NAMES = re.findall(r'^test\("([^"]+)"', FLOWS.read_text(), re.MULTILINE)

pytestmark = pytest.mark.timeout(300)  # the first test may have to install VS Code


@pytest.fixture(scope="session")
def tools() -> None:
    """Make sure of the programs without which there is nothing to test."""
    if lacks := vscode_host.missing():
        reason = "needs " + ", ".join(lacks)
        if vscode_host.must_run():
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def host(tools: None) -> None:
    """Install VS Code and package the extension, as far as that is not done yet."""
    vscode_host.install()
    vscode_host.package()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short name, for sockets lie in it; no process that knows it stays."""
    with tempfile.TemporaryDirectory(prefix="segue-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        left = wait_until_nobody_is_left(Path(name))
    assert not left, "left behind"


def outcome(command: list[str], directory: Path, folder: Path) -> tuple[int, str]:
    """Run what tests; return its exit code and what it said. It ends with this test."""
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
            said, _ = process.communicate()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.parametrize("script", ["typecheck", "test:unit"])
def test_the_extension_passes_its_own(tools: None, folder: Path, script: str) -> None:
    vscode_host.install_extension_packages()
    code, said = outcome(["npm", "run", "--silent", script], vscode_host.EXTENSION, folder)
    assert code == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_in_vscode(host: None, folder: Path, name: str) -> None:
    only = f"--test-name-pattern=^{re.escape(name)}$"
    node = [str(vscode_host.NODE), "--test", "--test-reporter=spec", only, str(FLOWS)]
    code, said = outcome(node, FLOWS.parent, folder)
    assert code == 0, said
    assert re.search(r"^\S pass 1$", said, re.MULTILINE), said


def test_every_flow_is_run() -> None:
    assert len(NAMES) == len(re.findall(r"\btest\(", FLOWS.read_text()))
