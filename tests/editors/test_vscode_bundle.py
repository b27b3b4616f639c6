"""The server in the VS Code extension: small, complete, and able to run where it is installed."""

import hashlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from segue.cli.client import Client
from tests.editors import vscode_host

MAX_BYTES = 16_000_000

IMPORT_ALL = """
import importlib, pkgutil, segue
extras = ("segue.mcp", "segue.startup.mcp", "segue.store.postgres", "segue.__main__")
names = [each.name for each in pkgutil.walk_packages(segue.__path__, "segue.")
    if not each.name.startswith(extras)]
names += ["aiosqlite", "attrs", "cattrs", "click", "lsprotocol.types", "markdown_it",
    "platformdirs", "pygls.lsp.server", "pygments.lexers", "pysqlite3.dbapi2", "rich.markdown",
    "uuid6", "watchdog.observers"]
for name in names:
    importlib.import_module(name)
print(len(names))
"""

pytestmark = pytest.mark.timeout(300)  # the first test may have to package the extension


@pytest.fixture(scope="module")
def package(vscode_tools: None) -> Path:
    """Return the packaged extension; it is unpacked beside it."""
    return vscode_host.package()


@pytest.fixture(scope="module")
def bundle(package: Path) -> Path:
    """Return the folder of wheels in the unpacked extension."""
    return package.parent / "extension" / "server"


@pytest.fixture(scope="module")
def python(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has nothing but what is in the bundle."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-I", str(bundle / "install_server.py")]
    done = subprocess.run(install, check=True, capture_output=True, text=True)
    assert done.stdout == ""  # a wheel of every package fits
    return python


@pytest.fixture(scope="module")
def slim_wheels() -> ModuleType:
    """Return the module that makes wheels smaller."""
    spec = importlib.util.spec_from_file_location(
        "slim_wheels", vscode_host.EXTENSION / "slim_wheels.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_extension_for_all_platforms_is_small(package: Path) -> None:
    assert package.stat().st_size <= MAX_BYTES


def test_the_hashes_are_those_of_the_files_and_of_no_others(bundle: Path) -> None:
    sums = dict(line.split("  ")[::-1] for line in (bundle / "SHA256SUMS").read_text().splitlines())
    files = {each.name: each.read_bytes() for each in bundle.iterdir() if each.name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(files[name]).hexdigest() for name in files}


def test_records_have_the_hashes_of_slim_wheels(bundle: Path) -> None:
    for wheel in bundle.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            record = next(name for name in names if name.endswith(".dist-info/RECORD"))
            lines = archive.read(record).decode().splitlines()
            assert sorted(line.split(",")[0] for line in lines) == sorted(names)


def test_everything_that_is_installed_can_be_imported(python: Path, tmp_path: Path) -> None:
    command = [str(python), "-I", "-c", IMPORT_ALL]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_the_installed_server_records_and_resumes(
    python: Path, repository: Path, tmp_path: Path
) -> None:
    def open_session() -> tuple[Client, dict[str, object]]:
        client = Client(repository, command=(str(python), "-I", "-m", "segue", "lsp"))
        client.initialize(rootUri=repository.as_uri())
        return client, client.request("session/open", {"workspace": repository.as_uri()})

    client, opened = open_session()
    event = {"type": "user_message", "data": {"content": "From the bundle"}}
    assert isinstance(opened["session"], dict)
    session_id = opened["session"]["sessionId"]
    event["id"] = "01890a5d-ac96-774b-bcce-b302099a8057"
    client.request("session/append", {"sessionId": session_id, "events": [event]})
    client.kill()
    client, opened = open_session()
    assert isinstance(opened["session"], dict)
    assert opened["session"]["sessionId"] == session_id
    client.kill()
    demo = subprocess.run(
        [python, "-I", "-m", "segue", "demo"], cwd=tmp_path, capture_output=True, text=True
    )
    assert demo.returncode == 0, demo.stdout
    doctor = subprocess.run(
        [python.parent / "segue", "doctor", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    sqlite = json.loads(doctor.stdout)["sqlite"]
    assert (sqlite["library"], sqlite["safe"]) == ("pysqlite3", True)


def test_a_stripped_library_is_loaded_as_it_was(bundle: Path) -> None:
    downloads = vscode_host.find_downloads()
    slim = sorted(bundle.glob("pysqlite3-*manylinux*.whl"))
    assert len(slim) == 4
    for wheel in slim:
        old, new = read_library(downloads / wheel.name), read_library(wheel)
        assert b".debug_info" in old
        assert len(new) < len(old) / 4
        assert loaded(new) == loaded(old)


def read_library(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(each for each in archive.namelist() if each.endswith(".so")))


def loaded(library: bytes) -> list[tuple[int, bytes]]:
    """Return the segments that a process loads, with their addresses, after the ELF header."""
    (table,) = struct.unpack_from("<Q", library, 0x20)
    size, number = struct.unpack_from("<HH", library, 0x36)
    headers = [
        struct.unpack_from("<IIQQQQQQ", library, table + size * index) for index in range(number)
    ]
    return [
        (address, library[max(offset, 0x40) : offset + length])
        for kind, _, offset, address, _, length, _, _ in headers
        if kind == 1
    ]


def test_a_library_of_another_format_is_left_as_it_is(slim_wheels: ModuleType) -> None:
    content = b"\xcf\xfa\xed\xfe" + os.urandom(100)
    assert slim_wheels.strip_elf(content) == content


def test_wheels_that_differ_in_more_than_a_library_are_not_merged(
    slim_wheels: ModuleType, tmp_path: Path
) -> None:
    wheels = []
    for python in ("cp311", "cp312"):
        wheels.append(tmp_path / f"package-1-{python}-{python}-macosx_11_0_arm64.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr("package.py", python)
            archive.writestr("package-1.dist-info/WHEEL", f"Tag: {python}\n")
            archive.writestr("package-1.dist-info/RECORD", "")
    with pytest.raises(ValueError, match=r"differ in package\.py"):
        slim_wheels.merge_wheels(wheels, tmp_path)
