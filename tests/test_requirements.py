"""The installed packages are those of the lock files, each with its hash."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from segue.startup.compose import open_service
from segue.startup.settings import Settings
from segue.store.sqlite import driver

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {name: (ROOT / name / "requirements.txt").read_text() for name in ("server", "tests")}
DEPENDENCIES = {"server": PROJECT["dependencies"]}
EXTRAS = PROJECT["optional-dependencies"].values()
DEPENDENCIES["tests"] = [*DEPENDENCIES["server"], *(each for extra in EXTRAS for each in extra)]


def locked(name: str) -> dict[str, Requirement]:
    lines = re.findall(r"^(\S+==[^\\\n]+)", LOCKS[name], re.M)
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    return pin.version


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_has_a_hash_and_no_url(name: str) -> None:
    entries = LOCKS[name].replace(" \\\n", " ").splitlines()[1:]
    assert len(entries) == len(locked(name)) > 15
    for entry in entries:
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", entry), entry
    assert "://" not in LOCKS[name]
    assert "index" not in LOCKS[name]


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_locked_at_an_allowed_version(name: str) -> None:
    for dependency in map(Requirement, DEPENDENCIES[name]):
        assert version(locked(name)[dependency.name]) in dependency.specifier, (
            f"{dependency}: update the lock file"
        )


def test_the_tests_use_the_locked_versions_of_the_server() -> None:
    server, tests = locked("server"), locked("tests")
    assert {name: version(tests[name]) for name in server} == {
        name: version(requirement) for name, requirement in server.items()
    }


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="another environment")
def test_the_environment_is_the_locked_one() -> None:
    for name, requirement in locked("tests").items():
        if requirement.marker is None or requirement.marker.evaluate():
            assert metadata.version(name) == version(requirement)


def test_the_locked_sqlite_is_safe() -> None:
    marker = locked("server")["pysqlite3"].marker
    if marker is not None and not marker.evaluate():
        pytest.skip("no wheel of pysqlite3 exists for this platform")
    assert driver.NAME == "pysqlite3"
    assert driver.is_safe()


@pytest.mark.parametrize("safe", [True, False])
async def test_an_unsafe_sqlite_is_logged(
    safe: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "is_safe", lambda: safe)
    service = await open_service(Settings(database=":memory:"))
    await service.close()
    assert ("can corrupt a database" in caplog.text) is not safe
