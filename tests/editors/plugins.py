"""The plugins of others that Neovim is tested with: `python -m tests.editors.plugins`.

Checks each out at the commit below, which the tests have passed with, into a folder that git
ignores. Where GitHub cannot be reached, the tests that need them are skipped.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "nvim" / ".installed"
TIMEOUT_S = 60

PLUGINS = {
    "carlos-algms/agentic.nvim": "e2937ac9a2299753fec7b2a31276337ffa145e80",
    "yetone/avante.nvim": "a9334315e05ac750985c7d0b391e360e36e0278e",
    "olimorris/codecompanion.nvim": "f1afd02537c68b3dd6e0d41d4adda5ef538e0473",
    "CopilotC-Nvim/CopilotChat.nvim": "f0c2a23ab79dc295f5e0eef0d8b587a39020c852",
    "ibhagwan/fzf-lua": "9ad7340dcc6d2afc30e64fb4088597c7573ed62c",
    "folke/lazy.nvim": "306a05526ada86a7b30af95c5cc81ffba93fef97",
    "nvim-mini/mini.deps": "8f6f74a8b68dbad02f1813dff4ddae5afeee92df",
    "MunifTanjim/nui.nvim": "de740991c12411b663994b2860f1a4fd0937c130",
    "nvim-lua/plenary.nvim": "b9fd5226c2f76c951fc8ed5923d85e4de065e509",
    "folke/snacks.nvim": "ad9ede6a9cddf16cedbd31b8932d6dcdee9b716e",
    "nvim-telescope/telescope.nvim": "7d324792b7943e4aa16ad007212e6acc6f9fe335",
}


def checkout(name: str) -> str:
    """Return the folder of a plugin, which need not exist."""
    return str(FOLDER / name)


def needs_plugins(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of the plugins has not been checked out."""
    missing = [name for name in names if not (FOLDER / name).exists()]
    reason = (
        f"needs {' and '.join(missing)}, which `python -m tests.editors.plugins` "
        "checks out where GitHub can be reached"
    )
    return pytest.mark.skipif(bool(missing), reason=reason)


def main() -> None:
    """Check out the plugins that are not there yet; say which cannot be had, and why."""
    failures = []
    for repository, commit in PLUGINS.items():
        folder = FOLDER / repository.split("/")[1]
        if is_checked_out(folder, commit):
            continue
        try:
            check_out(f"https://github.com/{repository}", commit, folder)
        except subprocess.CalledProcessError as error:
            failures.append(f"{repository}: {error.stderr.strip()}")
        except subprocess.TimeoutExpired:
            failures.append(f"{repository}: no answer in {TIMEOUT_S} seconds")
            break
    if failures:
        sys.exit("\n".join(["Some plugins could not be checked out:", *failures]))


def is_checked_out(folder: Path, commit: str) -> bool:
    """Return whether the files of a commit are in a folder: it is renamed when they are."""
    head = folder / ".git" / "HEAD"
    return head.exists() and head.read_text().strip() == commit


def check_out(url: str, commit: str, folder: Path) -> None:
    """Fetch one commit of a repository into a folder."""
    new = folder.with_suffix(".new")
    for old in (new, folder):
        shutil.rmtree(old, ignore_errors=True)
    new.mkdir(parents=True)
    for arguments in (
        ("init", "--quiet"),
        ("fetch", "--quiet", "--depth", "1", url, commit),
        ("checkout", "--quiet", "--detach", commit),
    ):
        subprocess.run(
            ["git", *arguments],
            cwd=new,
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    new.rename(folder)


if __name__ == "__main__":
    main()
