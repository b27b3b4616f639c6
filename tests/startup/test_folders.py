"""The user's own folders, whatever the environment of the editor says."""

import sys
from pathlib import Path

import pytest

from segue.startup.folders import (
    config_folder,
    data_folder,
    expand_home,
    home_folder,
    sandboxed_stores,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux")

SNAP = {
    "XDG_DATA_HOME": "/home/u/snap/code/181/.local/share",
    "XDG_CONFIG_HOME": "/home/u/snap/code/181/.config",
    "SNAP_USER_DATA": "/home/u/snap/code/181",
    "SNAP_USER_COMMON": "/home/u/snap/code/common",
}
FLATPAK = {
    "XDG_DATA_HOME": "/home/u/.var/app/com.visualstudio.code/data",
    "XDG_CONFIG_HOME": "/home/u/.var/app/com.visualstudio.code/config",
    "FLATPAK_ID": "com.visualstudio.code",
}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XDG_DATA_HOME": "", "XDG_CONFIG_HOME": " "},
        {"XDG_DATA_HOME": ".", "XDG_CONFIG_HOME": "relative/folder"},
        SNAP,
        SNAP | {"XDG_DATA_HOME_VSCODE_SNAP_ORIG": "", "XDG_CONFIG_HOME_VSCODE_SNAP_ORIG": ""},
        {name: value for name, value in SNAP.items() if name.startswith("XDG_")},
        SNAP | {"HOME": "/home/u/snap/code/181", "SNAP_REAL_HOME": "/home/u"},
        {"XDG_DATA_HOME": "/snaps/common/x", "SNAP_USER_COMMON": "/snaps/common/"},
        FLATPAK,
        FLATPAK | {"HOME": "/home//u/"},
        FLATPAK | {"HOST_XDG_DATA_HOME": "relative", "HOST_XDG_CONFIG_HOME": ""},
    ],
)
def test_relative_and_sandboxed_folders_do_not_count(environment: dict[str, str]) -> None:
    environment = {"HOME": "/home/u"} | environment
    assert data_folder(environment) == Path("/home/u/.local/share/segue")
    assert config_folder(environment) == Path("/home/u/.config/segue")


@pytest.mark.parametrize(
    "environment",
    [
        {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"},
        {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"}
        | {"SNAP_REAL_HOME": "/home/other", "SNAP_USER_DATA": "/dat"},
        SNAP
        | {
            "XDG_DATA_HOME_VSCODE_SNAP_ORIG": "/data",
            "XDG_CONFIG_HOME_VSCODE_SNAP_ORIG": "/config",
        },
        FLATPAK | {"HOST_XDG_DATA_HOME": "/data", "HOST_XDG_CONFIG_HOME": "/config"},
    ],
)
def test_the_folders_that_the_user_chose_count(environment: dict[str, str]) -> None:
    environment = {"HOME": "/home/u"} | environment
    assert data_folder(environment) == Path("/data/segue")
    assert config_folder(environment) == Path("/config/segue")


def test_a_flatpak_without_access_to_the_home_keeps_its_own_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it writes to the home is gone when it ends."""
    monkeypatch.setattr("segue.startup.folders._sees_home", lambda: False)
    assert data_folder({"HOME": "/home/u"} | FLATPAK) == Path(FLATPAK["XDG_DATA_HOME"]) / "segue"


@pytest.mark.parametrize("home", ["", ".", "relative"])
def test_without_a_usable_home_the_user_database_has_it(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segue.startup.folders._registered_home", lambda: "/home/registered")
    assert home_folder({"HOME": home}) == "/home/registered"
    assert home_folder({}) == "/home/registered"
    assert expand_home("~/a.db", {"HOME": home}) == "/home/registered/a.db"
    snap = {"HOME": "/home/u/snap/nvim/7", "SNAP_USER_DATA": "/home/u/snap/nvim/7"}
    assert home_folder(snap | {"SNAP_REAL_HOME": home}) == "/home/registered"


def test_without_any_home_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.startup.folders._registered_home", lambda: None)
    assert data_folder({"HOME": "."}) is None
    assert config_folder({}) is None
    assert data_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/segue")
    assert expand_home("~/a.db", {}) == "~/a.db"
    assert expand_home("~nobody-at-all/a.db", {}) == "~nobody-at-all/a.db"
    assert sandboxed_stores({}) == []


def test_the_stores_of_sandboxes_are_found_once(tmp_path: Path) -> None:
    snap = tmp_path / "snap/code/181/.local/share/segue/sessions.db"
    flatpak = tmp_path / ".var/app/com.visualstudio.code/data/segue/sessions.db"
    for path in (snap, flatpak):
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "snap/code/current").symlink_to("181")
    assert sandboxed_stores({"HOME": str(tmp_path)}) == [str(flatpak), str(snap)]
