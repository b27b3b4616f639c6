"""The recipes of the install pages, run as they stand, in a home of their own and offline."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builds import ROOT
from tests.editors import vscode_host
from tests.releases import commit_working_tree, latest_release

INSTALL = (ROOT / "server" / "INSTALL.md").read_text()
README = (ROOT / "README.md").read_text()
PLUGIN = ".local/share/nvim/site/pack/segue"
PROGRAMS = ("git", "mkdir", "tar", "gzip", "rm", "ln", "sha256sum", "readlink", "env", "sh")

pytestmark = [
    pytest.mark.timeout(1800),  # the first test may have to make a release
    pytest.mark.usefixtures("vscode_tools"),
]


def recipes(text: str, heading: str) -> Sequence[str]:
    """Return the blocks of shell commands after a heading, up to the next one."""
    section = re.search(
        rf"^(?:## |\*\*){re.escape(heading)}.*?(?=^## |^\*\*|\Z)", text, re.M | re.S
    )
    assert section is not None, heading
    return re.findall(r"^```sh\n(.*?)^```", section[0], re.M | re.S)


class Machine:
    """A home with the programs that a user has, and the files of a release in its Downloads."""

    def __init__(self, folder: Path, release: Path) -> None:
        self.home = folder / "home"
        self.downloads = self.home / "Downloads"
        self.downloads.mkdir(parents=True)
        for path in release.iterdir():
            (self.downloads / path.name).symlink_to(path)
        programs = folder / "programs"
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).symlink_to(f"/usr/bin/{name}")
        mine = Path(sys.executable).parent
        for name, path in (("uv", mine / "uv"), ("nvim", mine / "nvim")):
            (programs / name).symlink_to(path)
        for name in ("python3", "python"):
            (programs / name).symlink_to(Path(sys.base_prefix) / "bin" / "python3")
        # The command of the desktop program, for which code-server's takes the same arguments.
        server = vscode_host.CODE_SERVER / "out" / "node" / "entry.js"
        folders = "--user-data-dir ~/.config/Code --extensions-dir ~/.vscode/extensions"
        code = f'#!/bin/sh\nexec {vscode_host.NODE} {server} {folders} "$@"\n'
        (programs / "code").write_text(code)
        (programs / "code").chmod(0o755)
        wheels = folder / "wheels"
        wheels.mkdir()
        for path in vscode_host.find_downloads().glob("*.whl"):
            (wheels / path.name).symlink_to(path)
        (folder / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{self.home}/.local/bin:{programs}",
            "UV_CONFIG_FILE": str(folder / "uv.toml"),
            "UV_CACHE_DIR": str(folder / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "LANG": "C.UTF-8",
        }

    def run(self, script: str, folder: Path | None = None) -> str:
        """Run a recipe in the folder of the downloads; return what it prints."""
        done = subprocess.run(
            ["/bin/sh", "-euc", script],
            cwd=folder or self.downloads,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def has_plugin(self) -> bool:
        """Return whether Neovim has the command and the help of the plugin."""
        script = "silent! help segue | echo exists(':Segue') bufname()"
        output = self.run(f'nvim --headless -c "{script}" +qa!')
        return output.strip().startswith("2 ") and "segue.txt" in output


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine on which nothing of Segue is installed."""
    vscode_host.install()
    return Machine(tmp_path, latest_release())


def test_the_files_have_the_listed_hashes(machine: Machine) -> None:
    command = re.search(r"`(sha256sum [^`]*)`", INSTALL)
    assert command is not None
    assert "segue-0.1.0.vsix: OK" in machine.run(command[1])


def test_the_extension_is_installed_and_uninstalled(machine: Machine) -> None:
    install, uninstall = recipes(INSTALL, "VS Code")
    page = (ROOT / "editors" / "vscode" / "README.md").read_text()
    assert recipes(page, "Install, update, uninstall") == [install, uninstall]
    extensions = machine.home / ".vscode" / "extensions"
    for _ in ("install", "update"):
        machine.run(install)
        assert len([*extensions.glob("segue.segue-0.1.0*")]) == 1
    machine.run(uninstall)
    assert "segue.segue" not in machine.run("code --list-extensions")


def test_the_command_is_installed_updated_and_uninstalled(machine: Machine) -> None:
    install, update, uninstall = recipes(INSTALL, "Terminal")
    machine.run(install)
    assert "Nothing lost, nothing twice." in machine.run("segue demo")
    (machine.home / ".claude").mkdir()
    machine.run("segue hook install claude-code")
    machine.run(update)
    assert machine.run("segue --version") == "segue 0.1.0\n"
    output = machine.run(uninstall)
    assert "sessions.db" in output or "its Python environment" in output
    assert not (machine.home / ".local" / "bin" / "segue").exists()
    assert "segue" not in "".join(
        path.read_text() for path in (machine.home / ".claude").rglob("*") if path.is_file()
    )


def test_the_plugin_is_installed_updated_and_uninstalled(machine: Machine) -> None:
    assert not machine.has_plugin()
    install, update, uninstall = recipes(INSTALL, "Neovim")
    machine.run(install)
    assert machine.has_plugin()
    (machine.home / PLUGIN / "start" / "segue" / "old.lua").touch()
    machine.run(update)
    assert machine.has_plugin()
    assert not (machine.home / PLUGIN / "start" / "segue" / "old.lua").exists()
    machine.run(uninstall)
    assert not machine.has_plugin()
    assert not (machine.home / PLUGIN).exists()


@pytest.fixture
def clone(machine: Machine, tmp_path: Path) -> Path:
    """Return a clone of a repository that has the working tree committed."""
    commit_working_tree(tmp_path / "origin")
    folder = machine.home / "segue"
    subprocess.run(["git", "clone", "--quiet", tmp_path / "origin", folder], check=True)
    return folder


def test_the_recipes_of_the_readme_work_in_a_clone(machine: Machine, clone: Path) -> None:
    (neovim,) = recipes(README, "Neovim")
    terminal, without_uv = recipes(README, "Terminal")
    machine.run(neovim, clone)
    assert machine.has_plugin()
    assert "Nothing lost, nothing twice." in machine.run(
        terminal.replace("segue list", "segue list --all"), clone
    )
    assert "Nothing lost, nothing twice." in machine.run(without_uv, clone)


def test_a_clone_is_updated(machine: Machine, clone: Path) -> None:
    install, update = recipes(INSTALL, "From a clone")
    machine.run(install, clone)
    machine.run(update, clone)
    assert machine.run("segue --version") == "segue 0.1.0\n"


def test_every_file_that_the_store_keeps_is_on_the_page() -> None:
    """The names in the code are those that the page tells people to keep or to delete."""
    source = (ROOT / "server" / "segue" / "store" / "sqlite" / "file_access.py").read_text()
    suffixes = re.search(r"_SUFFIXES = \((.*?)\)", source, re.S)
    assert suffixes is not None
    names = {*re.findall(r'"(-[^"]+)"', suffixes[1]), "-search", "-sync.lock"} - {"-journal"}
    names |= {"hook.log", "hooks.json", "machine-id", "backups/", "config.toml"}
    assert not {each for each in names if each not in INSTALL}


def test_the_help_has_the_recipes_of_the_page() -> None:
    text = (ROOT / "editors" / "nvim" / "doc" / "segue.txt").read_text()
    commands = [
        shlex.split(line, comments=True)
        for line in text.replace("\\\n", " ").splitlines()
        if re.match(r"    (mkdir|tar|segue|uv|nvim) ", line)
    ]
    page = [
        shlex.split(line, comments=True)
        for block in recipes(INSTALL, "Neovim")
        for line in block.splitlines()
    ]
    for command in (*page[:3], ["segue", "hook", "uninstall", "all"], ["segue", "paths"]):
        assert command in commands, command
