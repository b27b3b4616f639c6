"""`segue export`: what it prints, and the file that it writes."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from segue.cli.new_file import new_file
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient
from tests.factories import execute

TURNS: list[tuple[str, Any]] = [
    ("user_message", {"content": "First question"}),
    ("tool_call", {"id": "t", "name": "Bash", "input": {"command": "ls \x1b[31m"}}),
    ("tool_result", {"tool_use_id": "t", "content": "a \x07 file", "is_error": False}),
    ("text", {"content": "First answer"}),
    ("user_message", {"content": "Second question \u202e"}),
    ("thinking", {"content": "Hidden thought"}),
    ("text", {"content": "Second answer\n\n```py\npass\n```"}),
]


@pytest.fixture
def recorded(start: StartClient) -> str:
    """Store a session of two turns and return its id."""
    client = start()
    session_id = str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])
    events = [{"type": type, "data": data} for type, data in TURNS]
    client.request("session/append", {"sessionId": session_id, "events": events})
    client.shutdown()
    return session_id


def exported(*arguments: str) -> str:
    """Return what `segue export` prints."""
    done = run("export", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_markdown_is_printed_by_default(recorded: str) -> None:
    text = exported(recorded)
    assert text.startswith("# First question\n")
    assert "## You\n\nSecond question \\u202e\n" in text
    assert "<details><summary><b>Bash</b> ls</summary>" in text


def test_what_was_said_names_a_conversation(recorded: str, start: StartClient) -> None:
    assert exported("second ANSWER") == exported(recorded)
    client = start()
    other = str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])
    event = {"type": "user_message", "data": {"content": "Another question"}}
    client.request("session/append", {"sessionId": other, "events": [event]})
    done = run("export", "question")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Several conversations have these words: name one by its id." in done.stderr
    assert "Another question" in done.stderr
    done = run("export", "never said")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No conversation has the id never said, and none has these words." in done.stderr


def test_a_part_of_a_conversation_can_be_exported(recorded: str, database: Path) -> None:
    last = exported(recorded, "--turns", "1")
    assert "Second question" in last
    assert "First answer" not in last
    assert exported(recorded, "--turns", "2") == exported(recorded, "--turns", "99")
    said = exported(recorded, "--no-tools")
    assert "First answer" in said
    assert "Bash" not in said
    assert "Hidden thought" not in said
    hours_ago = int(time.time() * 1_000) - 3 * 3_600_000
    execute(database, "UPDATE events SET created_at = ? WHERE key & 4294967295 < 5", hours_ago)
    for since in ("1h", datetime.fromtimestamp(time.time() - 3_600).isoformat()):
        recent = exported(recorded, "--since", since, "--format", "html")
        assert "Second question" in recent
        assert "First answer" not in recent
    assert "First answer" in exported(recorded, "--since", "1d")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "'pdf' is not one of"),
        (["--format", "jsonl", "--turns", "1"], "JSON lines have the whole conversation"),
        (["--format", "jsonl", "--no-tools"], "JSON lines have the whole conversation"),
        (["--since", "yesterday"], "expected an age such as 2h"),
        (["--since", "2026-13-01"], "expected an age such as 2h"),
        (["--turns", "0"], "0 is not in the range"),
        (["--force"], "--force is for --output."),
        (["-o", ""], "expected a path"),
    ],
)
def test_arguments_that_are_wrong_are_named(arguments: list[str], message: str) -> None:
    done = run("export", "x", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_session_that_is_unknown_leaves_no_file(tmp_path: Path, database: Path) -> None:
    path = tmp_path / "x.md"
    done = run("export", "nope", "-o", str(path))
    assert (done.returncode, done.stderr) == (
        1,
        "Error: No conversation has the id nope, and none has these words.\n",
    )
    assert not path.exists()
    assert not database.parent.exists()


@pytest.mark.parametrize("format", ["markdown", "jsonl", "html"])
def test_a_file_is_what_would_be_printed_and_private(
    recorded: str, tmp_path: Path, format: str
) -> None:
    path = tmp_path / "file"
    os.umask(os.umask(0o022))
    assert exported(recorded, "--format", format, "--output", str(path)) == ""
    assert path.read_text() == exported(recorded, "--format", format)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("file")] == ["file"]


def test_a_file_that_exists_is_replaced_only_by_force(recorded: str, tmp_path: Path) -> None:
    path, target = tmp_path / "file.md", tmp_path / "target"
    target.write_text("kept")
    path.symlink_to(target)
    done = run("export", recorded, "-o", str(path))
    assert done.returncode == 1
    assert done.stderr == f"Error: {target} exists. Choose another name, or --force.\n"
    assert target.read_text() == "kept"
    exported(recorded, "-o", str(path), "--force")
    assert target.read_text().startswith("# First question")


def test_a_file_that_cannot_be_written_is_said(recorded: str, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "file", tmp_path):
        done = run("export", recorded, "--force", "-o", str(path))
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: {path} cannot be written: ")
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with contextlib.suppress(FileExistsError), new_file(str(path), replaces=False) as file:
        file.write(b"mine")
        path.write_text("another's")
    assert [each.read_text() for each in tmp_path.iterdir()] == ["another's"]


def test_a_file_system_without_links_keeps_what_exists_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        with contextlib.suppress(FileExistsError), new_file(str(path), replaces=False) as file:
            file.write(content)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"first"]


FULL_DISK = """
import os, sys
fsync = os.fsync
def full(fd):
    raise OSError(28, "No space left on device")
os.fsync = full
sys.argv[:] = ["segue", *sys.argv[1:]]
from segue.startup.compose import main
main()
"""


def test_a_file_is_complete_or_not_there(recorded: str, tmp_path: Path) -> None:
    path = tmp_path / "out" / "file.md"
    path.parent.mkdir()
    path.write_text("before")
    command = [sys.executable, "-c", FULL_DISK, "export", recorded, "--force", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {path} cannot be written: No space left on device.\n"
    assert [each.read_text() for each in path.parent.iterdir()] == ["before"]


def test_the_file_is_utf_8_whatever_the_locale(recorded: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "segue", "export", recorded, "--format", "html"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert "Neovim ·".encode() in done.stdout or b" to " in done.stdout
    assert done.stdout.decode() == exported(recorded, "--format", "html")


def test_a_terminal_gets_nothing_that_it_would_obey(recorded: str) -> None:
    mine, its = os.openpty()
    command = [sys.executable, "-m", "segue", "export", recorded, "--format", "jsonl"]
    with subprocess.Popen(command, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                shown += os.read(mine, 4_096)
            except OSError:
                break
    os.close(mine)
    assert process.returncode == 0
    assert b"Second answer" in shown
    assert b"\x1b" not in shown
    assert b"\x07" not in shown


def test_output_that_nobody_reads_is_no_error(recorded: str) -> None:
    command = f"{sys.executable} -m segue export {recorded} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


LOADED = """
import sys
from segue.startup.compose import main
sys.argv[:] = ["segue", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["list"], set()),
        (["show", "ID"], set()),
        (["export", "ID", "--format", "jsonl"], {"segue.exporting"}),
        (["export", "ID"], {"segue.exporting", "markdown_it"}),
        (["export", "ID", "--format", "html"], {"segue.exporting", "markdown_it", "pygments"}),
    ],
)
def test_only_what_a_format_needs_is_loaded(
    recorded: str, arguments: list[str], loaded: set[str]
) -> None:
    given = [each.replace("ID", recorded) for each in arguments]
    command = [sys.executable, "-c", LOADED, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    modules = set(done.stderr.split())
    assert modules & {"segue.exporting", "markdown_it", "pygments"} == loaded


def test_exporting_changes_nothing(recorded: str) -> None:
    before = as_json("list", "--all")
    for format in ("markdown", "jsonl", "html"):
        exported(recorded, "--format", format)
    assert as_json("list", "--all") == before
    assert json.loads(exported(recorded, "--format", "jsonl").splitlines()[0])["segue"] == 1
