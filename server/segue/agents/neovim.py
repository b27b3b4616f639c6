"""Where plugins of Neovim keep their files."""

import sys
from collections.abc import Iterator
from pathlib import Path

from segue.agents.transcript import Folder, Places


def data_files(places: Places, pattern: str) -> Iterator[Path]:
    """Yield what matches *pattern* below `stdpath("data")` of any NVIM_APPNAME."""
    return _files(places, "XDG_DATA_HOME", ".local/share", pattern)


def state_files(places: Places, pattern: str) -> Iterator[Path]:
    """Yield what matches *pattern* below `stdpath("state")` of any NVIM_APPNAME."""
    return _files(places, "XDG_STATE_HOME", ".local/state", pattern)


def data_folders(places: Places, name: str) -> Iterator[Folder]:
    """Yield the folders *name* below `stdpath("data")` of every NVIM_APPNAME, and of the usual."""
    return _folders(places, "XDG_DATA_HOME", ".local/share", name)


def state_folders(places: Places, name: str) -> Iterator[Folder]:
    """Yield the folders *name* below `stdpath("state")` of every NVIM_APPNAME, and of the usual."""
    return _folders(places, "XDG_STATE_HOME", ".local/state", name)


def _folders(places: Places, variable: str, default: str, name: str) -> Iterator[Folder]:
    usual = "nvim-data" if sys.platform == "win32" else "nvim"
    found = {_base(places, variable, default) / usual / name}
    found.update(_files(places, variable, default, name))
    yield from (Folder(each) for each in sorted(found))


def _files(places: Places, variable: str, default: str, pattern: str) -> Iterator[Path]:
    base = _base(places, variable, default)
    # Where NVIM_APPNAME is set for Neovim alone, as by an alias, it is not known here.
    yield from base.glob(f"*/{pattern}")
    name = places.environment.get("NVIM_APPNAME", "")
    if "/" in name:
        yield from (base / name).glob(pattern)


def _base(places: Places, variable: str, default: str) -> Path:
    if sys.platform == "win32" and not places.environment.get(variable):
        variable, default = "LOCALAPPDATA", "AppData/Local"
    return places.folder(variable, default)
