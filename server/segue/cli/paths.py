"""`segue paths`: what Segue has on this machine, and where."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from segue.agents import neovim, vscode_chat
from segue.agents.transcript import Places
from segue.cli.application import Store
from segue.cli.hooks import LOG, NOTES, statuses
from segue.cli.printing import Column, from_home, print_json, print_line, print_table

_BESIDE_THE_DATABASE = {LOG: "log of the hooks", f"{LOG}.1": "log of the hooks", NOTES: "hooks"}
_OF_THE_USER = {"machine-id": "id of this machine"}
_EXTENSION = "segue.segue"
_ASKED = "segue-watch-offered"
"""What the Neovim plugin makes when it has told of the conversations of other programs."""


@attrs.frozen
class Place:
    """A file or a folder that is there."""

    what: str
    path: str
    bytes: int | None
    """With all that is in it; None if most of it is another program's."""


def run(store: Store, *, as_json: bool) -> int:
    """Print what is there, and return 0; nothing is changed."""
    places = find_places(store)
    if as_json:
        print_json({"places": [attrs.asdict(each) for each in places]})
        return 0
    rows = [
        (each.what, from_home(each.path), "" if each.bytes is None else f"{each.bytes:,}")
        for each in places
    ]
    columns = (Column("WHAT"), Column("PATH"), Column("BYTES", is_number=True))
    print_table(columns, rows)
    print_line()
    print_line("Uninstalling removes the program or the extension, and leaves the rest.")
    if any(each.what.startswith("hooks of") for each in places):
        print_line("`segue hook uninstall all` removes the hooks; do it while `segue` is here.")
    return 0


def find_places(store: Store, environment: Mapping[str, str] = os.environ) -> list[Place]:
    """Return the files and folders of Segue that are here, and the settings with its hooks.

    Not what a person has made or copied elsewhere, such as exports, and nothing that the program's
    installer keeps.
    """
    programs = Places(Path.home(), environment)
    found = [
        *_program(),
        *_settings(store),
        *_database(store),
        *_hooks(store),
        *_vscode(programs),
        *_neovim(programs),
    ]
    return list({each.path: each for each in found}.values())


def _program() -> Iterator[Place]:
    yield from _existing("program", Path(__file__).parent.parent)
    yield Place("its Python environment", sys.prefix, None)


def _settings(store: Store) -> Iterator[Place]:
    if store.config_file is not None:
        yield from _existing("settings", Path(store.config_file))


def _database(store: Store) -> Iterator[Place]:
    database = Path(store.admin.location)
    if store.folders:  # it is a file
        yield from _existing("database", database)
        for path in sorted(database.parent.glob(f"{database.name}-*")):
            yield from _existing("beside the database", path)
    else:
        yield Place("database", store.admin.location, None)
    for copy in store.admin.copies():
        yield Place(f"copy of the database, {copy.kind}", copy.path, copy.bytes)
    for folder, names in (
        (store.hook_folder, _BESIDE_THE_DATABASE),
        (store.data_folder, _OF_THE_USER),
    ):
        for name, what in names.items() if folder is not None else ():
            yield from _existing(what, Path(folder or "", name))


def _hooks(store: Store) -> Iterator[Place]:
    for each in statuses(store.hook_folder):
        if each.installed:
            yield Place(f"hooks of {each.agent.name}", str(each.settings), None)


def _vscode(programs: Places) -> Iterator[Place]:
    home = programs.home
    data = programs.folder("XDG_DATA_HOME", ".local/share")
    for folder in (*sorted(home.glob(".*/extensions")), data / "code-server" / "extensions"):
        for path in sorted(folder.glob(f"{_EXTENSION}-*")):
            yield from _existing("VS Code extension", path)
    for folder in vscode_chat.user_folders(programs):
        storage = folder / "globalStorage" / _EXTENSION
        yield from _existing("VS Code: private environments", storage)


def _neovim(programs: Places) -> Iterator[Place]:
    for path in neovim.data_files(programs, "site/pack/*/*/segue*"):
        yield from _existing("Neovim plugin", path)
    for path in neovim.state_files(programs, _ASKED):
        yield from _existing("Neovim plugin: was asked", path)


def _existing(what: str, path: Path) -> Iterator[Place]:
    if os.path.lexists(path):
        yield Place(what, str(path), _size(path))


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; a link counts as itself."""
    total = path.lstat().st_size if path.is_symlink() or not path.is_dir() else 0
    for folder, _, names in os.walk(path) if not path.is_symlink() else ():
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return total
