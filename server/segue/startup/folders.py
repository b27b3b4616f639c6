"""The user's own folders, whatever environment an editor gives the server.

A relative XDG variable or HOME would mean a folder of the opened repository, and those of a
sandbox (snap, Flatpak) would give each editor a store of its own: neither counts.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

APP = "segue"
_LONGEST_FLATPAK_INFO = 64 * 1024

_SNAP_FOLDERS = ("SNAP_USER_DATA", "SNAP_USER_COMMON")
_ORIGINALS = ("{}_VSCODE_SNAP_ORIG", "HOST_{}")
"""Where VS Code's snap and Flatpak keep the value that a variable had outside of the sandbox."""

_SANDBOXED_STORES = (
    f"snap/*/*/.local/share/{APP}/sessions.db",
    f".var/app/*/data/{APP}/sessions.db",
    f".var/app/*/.local/share/{APP}/sessions.db",
)


def data_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of the database if no setting names another; None if there is no home."""
    if sys.platform == "win32":
        import platformdirs

        return platformdirs.user_data_path(APP, appauthor=False)
    default = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    return _user_folder("XDG_DATA_HOME", default, environment)


def config_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of `config.toml`, whether it exists or not; None if there is no home."""
    if sys.platform == "win32":
        import platformdirs

        return platformdirs.user_config_path(APP, appauthor=False)
    default = "Library/Application Support" if sys.platform == "darwin" else ".config"
    return _user_folder("XDG_CONFIG_HOME", default, environment)


def expand_home(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return *path* with the home directory for a leading `~`; unchanged if there is none."""
    if sys.platform == "win32" or not path.startswith("~"):
        return os.path.expanduser(path)
    name, slash, rest = path.partition("/")
    home = home_folder(environment) if name == "~" else os.path.expanduser(name)
    return path if home is None else f"{home}{slash}{rest}"


def home_folder(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the user's home directory, not a sandbox's; None if there is none."""
    home = environment.get("HOME", "")
    if _is_inside(home, _snap_folders(environment)):
        home = environment.get("SNAP_REAL_HOME", "")
    if not os.path.isabs(home):
        home = _registered_home() or ""
    return home or None


def sandboxed_stores(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the databases that editors in sandboxes have made for themselves."""
    home = home_folder(environment)
    if home is None or sys.platform == "win32":
        return []
    found = (path for pattern in _SANDBOXED_STORES for path in Path(home).glob(pattern))
    # A snap's folder `current` is a link to its newest revision.
    return sorted({os.path.realpath(path) for path in found})


def _user_folder(variable: str, default: str, environment: Mapping[str, str]) -> Path | None:
    home = home_folder(environment)
    folder = environment.get(variable, "")
    if os.path.isabs(folder) and _is_sandboxed(folder, home, environment):
        originals = (environment.get(name.format(variable), "") for name in _ORIGINALS)
        folder = next(filter(os.path.isabs, originals), "")
    if os.path.isabs(folder):
        return Path(folder) / APP
    return None if home is None else Path(home) / default / APP


def _is_sandboxed(folder: str, home: str | None, environment: Mapping[str, str]) -> bool:
    """Return whether *folder* belongs to a sandbox whose programs can also use the home's own."""
    if _is_inside(folder, _snap_folders(environment)):
        return True
    if home is None:
        return False
    if _is_inside(folder, [f"{home}/.var/app"]):
        return _sees_home()
    return _is_inside(folder, [f"{home}/snap"])


def _snap_folders(environment: Mapping[str, str]) -> Iterator[str]:
    yield from filter(os.path.isabs, (environment.get(name, "") for name in _SNAP_FOLDERS))


def _is_inside(path: str, folders: Iterable[str]) -> bool:
    inside = f"{os.path.normpath(path)}/"
    return any(inside.startswith(f"{os.path.normpath(each)}/") for each in folders)


def _sees_home() -> bool:
    """Return False in a Flatpak without access to the home: what it writes there is thrown away."""
    try:
        with open("/.flatpak-info", "rb") as file:
            lines = file.read(_LONGEST_FLATPAK_INFO).decode(errors="replace").splitlines()
    except OSError:
        return True
    shared = next((line for line in lines if line.startswith("filesystems=")), "")
    return not {"host", "home"}.isdisjoint(shared.partition("=")[2].split(";"))


def _registered_home() -> str | None:
    """Return the home directory that the user database has for this user."""
    if sys.platform == "win32":
        return None
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return home if os.path.isabs(home) else None
