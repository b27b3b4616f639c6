"""The id of this machine: made once, whoever asks first, and never in the way."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from segue.startup.machine import this_machine

ASK = """
import sys
from pathlib import Path
from segue.startup.machine import this_machine
sys.stdin.read()
print(this_machine(Path(sys.argv[1])).id)
"""


def test_the_id_is_random_private_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "segue"

    first = this_machine(folder)

    assert UUID(first.id).version == 4
    assert first.name
    assert this_machine(folder) == first
    assert this_machine(tmp_path / "another").id != first.id
    assert [path.name for path in folder.iterdir()] == ["machine-id"]
    assert (folder / "machine-id").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_id_is_no_other_one_after_the_host_was_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = this_machine(tmp_path)
    monkeypatch.setattr("platform.node", lambda: "Laptop.example.com")
    after = this_machine(tmp_path)
    assert (after.id, after.name) == (before.id, "Laptop")


def test_processes_that_start_at_once_get_the_same_id(tmp_path: Path) -> None:
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        command = [sys.executable, "-c", ASK, str(folder)]
        start, end = os.pipe()
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(subprocess.Popen(command, stdin=start, stdout=subprocess.PIPE))
                for _ in range(6)
            ]
            os.close(start)
            os.close(end)  # all of them at once
            ids = {process.communicate(timeout=30)[0].decode().strip() for process in started}
        assert [process.returncode for process in started] == [0] * 6
        assert ids == {this_machine(folder).id}
        assert os.listdir(folder) == ["machine-id"]


def test_another_process_may_be_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, quicker = os.link, str(UUID(int=7))

    def late(source: str, target: str) -> None:
        Path(target).write_text(quicker)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert this_machine(tmp_path).id == quicker
    assert os.listdir(tmp_path) == ["machine-id"]


@pytest.mark.parametrize("content", [b"", b"no id\n", b"\xff" * 40, b"\0" * 36])
def test_a_damaged_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "machine-id").write_bytes(content)
    first = this_machine(tmp_path)
    assert this_machine(tmp_path) == first
    assert UUID(first.id).version == 5
    assert (tmp_path / "machine-id").read_bytes() == content


@pytest.mark.parametrize("kind", ["no home", "a file", "a fifo", "a folder", "read-only"])
def test_nothing_is_in_the_way(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path | None = tmp_path / "segue"
    assert folder is not None
    if kind == "a file":
        folder.write_text("")
    elif kind == "a fifo":
        folder.mkdir()
        os.mkfifo(folder / "machine-id")
    elif kind == "a folder":
        (folder / "machine-id").mkdir(parents=True)
    elif kind == "read-only":
        # Root may write everywhere, so the system says no itself.
        def refuse(path: str, flags: int, mode: int = 0o777, **options: Any) -> int:
            if flags & os.O_CREAT:
                raise OSError(30, "Read-only file system", path)
            return os_open(path, flags, mode, **options)

        os_open = os.open
        monkeypatch.setattr(os, "open", refuse)
    else:
        folder = None
    first = this_machine(folder)
    assert this_machine(folder) == first
    assert UUID(first.id).version == 5


def test_a_file_system_without_links_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert this_machine(tmp_path) == this_machine(tmp_path)
    assert os.listdir(tmp_path) == []
