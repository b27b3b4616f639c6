"""The recipes for plugin managers, run by the real ones with a clone of this repository."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.editors.neovim import NEOVIM, PLUGIN, needs_neovim
from tests.editors.plugins import checkout, needs_plugins
from tests.releases import commit_working_tree

pytestmark = needs_neovim

HOST = "https://git.example/"
"""Where the repository is said to be: git takes it from the folder of a test."""

LAZY = """
vim.opt.rtp:prepend({manager!r})
require("lazy").setup({{ {recipe} }}, {{ rocks = {{ enabled = false }} }})
"""
MINI = """
vim.opt.rtp:prepend({manager!r})
require("mini.deps").setup()
{recipe}
"""


def recipe_for(manager: str) -> str:
    """Return the Lua of the README for a plugin manager; the help has the same."""
    readme = (PLUGIN / "README.md").read_text()
    found = re.search(rf"^{re.escape(manager)}.*?^```lua\n(.*?)^```", readme, re.M | re.S)
    assert found is not None
    help_text = (PLUGIN / "doc" / "segue.txt").read_text()
    assert "".join(found[1].split()) in "".join(help_text.split())
    return found[1]


def run_neovim(home: Path, command: str) -> str:
    """Run a command in a Neovim that has this home and its configuration; return what it prints."""
    assert NEOVIM is not None
    names = ("CONFIG", "DATA", "STATE", "CACHE")
    settings = {
        **{f"XDG_{name}_HOME": str(home / name) for name in names},
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{home}/.insteadOf",
        "GIT_CONFIG_VALUE_0": HOST,
    }
    done = subprocess.run(
        [NEOVIM, "--headless", "-c", command, "-c", "qa!"],
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("manager", "folder", "template", "update"),
    [
        pytest.param(
            "lazy.nvim", "lazy.nvim", LAZY, "Lazy! update", marks=needs_plugins("lazy.nvim")
        ),
        pytest.param(
            "mini.deps", "mini.deps", MINI, "DepsUpdate!", marks=needs_plugins("mini.deps")
        ),
    ],
    ids=["lazy.nvim", "mini.deps"],
)
def test_a_plugin_manager_installs_and_updates_the_plugin(
    tmp_path: Path, manager: str, folder: str, template: str, update: str
) -> None:
    origin = tmp_path / "segue"
    commit_working_tree(origin)
    recipe = recipe_for(manager).replace('"URL"', f'"{HOST}segue"')
    init = tmp_path / "CONFIG" / "nvim" / "init.lua"
    init.parent.mkdir(parents=True)
    init.write_text(template.format(manager=checkout(folder), recipe=recipe))
    shown = "silent! help segue | echo exists(':Segue') bufname()"

    run_neovim(tmp_path, "")
    output = run_neovim(tmp_path, shown)
    assert output.strip().startswith("2 ")
    assert output.strip().endswith("/editors/nvim/doc/segue.txt")

    (origin / "editors" / "nvim" / "doc" / "segue.txt").write_text("*segue-new*\n")
    git = ["git", "-C", str(origin), "-c", "user.name=Tests", "-c", "user.email=tests@localhost"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "new"], check=True)
    run_neovim(tmp_path, update)
    assert run_neovim(tmp_path, "help segue-new | echo bufname()").strip().endswith("segue.txt")
