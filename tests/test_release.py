"""What is published: made from a commit, twice the same, and installed without Node."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from tests.builds import ROOT
from tests.editors import vscode_host
from tests.releases import CLONE, latest_release, make_release

MAX_BYTES = 16_000_000
MAX_TARGET_BYTES = 8_000_000
PLATFORMS = {
    "linux-x64": ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64"],
    "linux-arm64": ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64"],
    "darwin-x64": list(mac_platforms((15, 0), "x86_64")),
    "darwin-arm64": list(mac_platforms((11, 0), "arm64")),
    "win32-x64": ["win_amd64"],
}
WITHOUT_SQLITE = ("darwin-x64", "linux-arm64")
PYTHONS = [(3, 11), (3, 12), (3, 13), (3, 14)]

pytestmark = [
    pytest.mark.timeout(1800),  # a release packages the extension six times
    pytest.mark.usefixtures("vscode_tools"),
]


@pytest.fixture(scope="module")
def release() -> Path:
    """Return the folder of a release of the working tree."""
    return latest_release()


def test_everything_is_there_and_has_the_listed_hash(release: Path) -> None:
    sums = dict(
        line.split("  ")[::-1] for line in (release / "SHA256SUMS").read_text().splitlines()
    )
    files = {each.name: each for each in release.iterdir() if each.name != "SHA256SUMS"}
    assert sums == {
        name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sorted(files)
    }
    targets = [f"segue-{target}-0.1.0.vsix" for target in PLATFORMS]
    assert set(files) == {
        "segue-0.1.0-py3-none-any.whl",
        "segue-0.1.0.cdx.json",
        "segue-0.1.0.tar.gz",
        "segue-0.1.0.vsix",
        "segue-nvim-0.1.0.tar.gz",
        *targets,
    }
    assert files["segue-0.1.0.vsix"].stat().st_size <= MAX_BYTES
    assert max(files[each].stat().st_size for each in targets) <= MAX_TARGET_BYTES


@pytest.mark.parametrize("target", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_wheel_of_every_package_fits_each_platform(
    release: Path, target: str, python: tuple[int, int]
) -> None:
    platforms = PLATFORMS[target]
    fitting = {
        *cpython_tags(python, platforms=platforms),
        *compatible_tags(python, f"cp{python[0]}{python[1]}", platforms),
    }
    for package in (f"segue-{target}-0.1.0.vsix", "segue-0.1.0.vsix"):
        with zipfile.ZipFile(release / package) as archive:
            wheels = [Path(each).name for each in archive.namelist() if each.endswith(".whl")]
        found = {
            name
            for name, _, _, tags in map(parse_wheel_filename, wheels)
            if not fitting.isdisjoint(tags)
        }
        assert found >= {"segue", "pygls", "packaging", "watchdog"}
        assert ("pysqlite3" in found) == (target not in WITHOUT_SQLITE)


def test_the_extensions_contain_the_published_server(release: Path) -> None:
    server = "segue-0.1.0-py3-none-any.whl"
    for package in release.glob("*.vsix"):
        with zipfile.ZipFile(package) as archive:
            assert archive.read(f"extension/server/{server}") == (release / server).read_bytes()


def test_an_extension_for_one_platform_says_so_and_has_no_wheels_of_others(release: Path) -> None:
    with zipfile.ZipFile(release / "segue-linux-x64-0.1.0.vsix") as archive:
        assert 'TargetPlatform="linux-x64"' in archive.read("extension.vsixmanifest").decode()
        wheels = [each for each in archive.namelist() if each.endswith(".whl")]
    assert all(re.search(r"(any|manylinux_\w+_x86_64)\.whl$", each) for each in wheels), wheels


def test_a_commit_always_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    again = tmp_path / "out"
    make_release(CLONE, tmp_path / "elsewhere", again, "--target", "linux-x64")
    names = [each.name for each in again.iterdir() if not each.name.startswith("SHA256")]
    assert "segue-linux-x64-0.1.0.vsix" in names
    for name in names:
        if not name.endswith(".cdx.json"):  # it lists what is bundled for all platforms
            assert (again / name).read_bytes() == (release / name).read_bytes(), name


def test_nothing_is_made_of_what_is_not_committed(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True)
    (clone / "README.md").write_text("changed")
    (clone / ".ci").mkdir(exist_ok=True)
    for each in (ROOT / ".ci").glob("*.py"):
        shutil.copy(each, clone / ".ci")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    python = clone / ".venv" / "bin" / "python"
    result = subprocess.run(
        [python, clone / ".ci" / "release.py", tmp_path / "out"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "commit first" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_bill_of_materials_lists_what_is_bundled(release: Path) -> None:
    text = (release / "segue-0.1.0.cdx.json").read_text()
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = {each["purl"].rpartition("@")[0]: each for each in bill["components"]}
    with zipfile.ZipFile(release / "segue-0.1.0.vsix") as archive:
        wheels = {Path(each).name for each in archive.namelist() if each.endswith(".whl")}
    names = {parse_wheel_filename(each)[0] for each in wheels} - {"segue"}
    assert {f"pkg:pypi/{name}" for name in names} == {
        each for each in listed if each.startswith("pkg:pypi/")
    }
    npm = {each for each in listed if each.startswith("pkg:npm/")}
    assert npm >= {"pkg:npm/vscode-languageclient", "pkg:npm/uuid"}
    assert not npm & {"pkg:npm/typescript", "pkg:npm/esbuild", "pkg:npm/%40vscode/vsce"}
    assert "pkg:generic/sqlite" in listed
    without = {name for name, each in listed.items() if not each.get("licenses")}
    assert without == {"pkg:pypi/pysqlite3"}  # its metadata names none
    locked = (ROOT / "server" / "requirements.txt").read_text()
    assert listed["pkg:pypi/attrs"]["hashes"][0]["content"] in locked
    assert str(ROOT) not in text


def test_the_wheel_is_installed_into_an_empty_environment(release: Path, tmp_path: Path) -> None:
    """Without Node, without a compiler, and offline: its dependencies are those of the bundle."""
    wheels = tmp_path / "wheels"
    with zipfile.ZipFile(release / "segue-0.1.0.vsix") as archive:
        for name in archive.namelist():
            if name.endswith(".whl") and "/segue-" not in name:
                wheels.mkdir(exist_ok=True)
                (wheels / Path(name).name).write_bytes(archive.read(name))
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-I", "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet", "--isolated"]
    wheel = release / "segue-0.1.0-py3-none-any.whl"
    install = [*pip, "--no-index", "--find-links", str(wheels), str(wheel)]
    done = subprocess.run(install, env={"PATH": "/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    demo = subprocess.run([folder / "bin" / "segue", "demo"], capture_output=True, text=True)
    assert demo.returncode == 0, demo.stdout


def test_the_source_distribution_builds_the_same_server(release: Path, tmp_path: Path) -> None:
    with tarfile.open(release / "segue-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", tmp_path], cwd=tmp_path / "segue-0.1.0", check=True)
    with (
        zipfile.ZipFile(tmp_path / "segue-0.1.0-py3-none-any.whl") as ours,
        zipfile.ZipFile(release / "segue-0.1.0-py3-none-any.whl") as published,
    ):
        assert {each.filename: each.CRC for each in ours.infolist()} == {
            each.filename: each.CRC for each in published.infolist()
        }


def test_the_plugin_works_from_its_archive(release: Path, tmp_path: Path) -> None:
    start = tmp_path / "data" / "nvim" / "site" / "pack" / "segue" / "start"
    start.mkdir(parents=True)
    with tarfile.open(release / "segue-nvim-0.1.0.tar.gz") as archive:
        archive.extractall(start, filter="data")
    nvim = Path(sys.executable).parent / "nvim"
    script = "helptags ALL | help segue | echo exists(':Segue') bufname() | quitall!"
    done = subprocess.run(
        [nvim, "--headless", "-c", script],
        env={
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "XDG_CONFIG_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.strip().startswith("2 "), done.stderr
    assert "segue.txt" in done.stderr


def test_the_extension_is_installed_without_node(release: Path, tmp_path: Path) -> None:
    """By the VS Code of the tests, from the published file."""
    vscode_host.install()
    folders = {name: tmp_path / name for name in ("user", "extensions", "home")}
    command = [str(vscode_host.NODE), str(vscode_host.CODE_SERVER / "out" / "node" / "entry.js")]
    options = [f"--user-data-dir={folders['user']}", f"--extensions-dir={folders['extensions']}"]
    vsix = release / "segue-linux-x64-0.1.0.vsix"
    done = subprocess.run(
        [*command, *options, "--install-extension", str(vsix)],
        env={"PATH": "/bin", "HOME": str(folders["home"])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (installed,) = folders["extensions"].glob("segue.segue-0.1.0*")
    with zipfile.ZipFile(vsix) as archive:
        packaged = {
            each.removeprefix("extension/")
            for each in archive.namelist()
            if each.startswith("extension/")
        }
    assert {
        str(each.relative_to(installed)) for each in installed.rglob("*") if each.is_file()
    } >= packaged
