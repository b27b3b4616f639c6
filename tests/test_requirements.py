"""What is installed is what was locked: each file of it by its hash."""

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
NEEDS = {"server": PROJECT["dependencies"]}
NEEDS["tests"] = [*NEEDS["server"], *PROJECT["optional-dependencies"]["dev"]]


def locked(name: str) -> dict[str, Requirement]:
    lines = re.findall(r"^(\S+==[^\\\n]+)", LOCKS[name], re.M)
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    return pin.version


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_has_a_hash_and_names_no_place(name: str) -> None:
    entries = LOCKS[name].replace(" \\\n", " ").splitlines()[1:]
    assert len(entries) == len(locked(name)) > 15
    for entry in entries:
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", entry), entry
    assert "://" not in LOCKS[name]
    assert "index" not in LOCKS[name]


@pytest.mark.parametrize("name", LOCKS)
def test_everything_that_is_needed_is_locked_at_a_version_that_will_do(name: str) -> None:
    for need in map(Requirement, NEEDS[name]):
        assert version(locked(name)[need.name]) in need.specifier, f"{need}: lock it anew"


def test_the_tests_run_on_what_people_get() -> None:
    theirs, ours = locked("server"), locked("tests")
    assert {name: version(ours[name]) for name in theirs} == {
        name: version(requirement) for name, requirement in theirs.items()
    }


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment made from it")
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
async def test_an_unsafe_sqlite_is_named_in_the_log(
    safe: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "is_safe", lambda: safe)
    service = await open_service(Settings(database=":memory:"))
    await service.close()
    assert ("can corrupt a database" in caplog.text) is not safe
