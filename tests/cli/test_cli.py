"""The `segue` command, run as a user runs it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

import segue
from segue.cli import demo
from segue.cli.client import Client
from segue.cli.printing import Column, isolated, local_time, print_table, uses_color, visible
from segue.startup.compose import local_engine
from segue.store.sqlite import driver
from tests.cli.helpers import as_json, at_terminal, run
from tests.conftest import StartClient
from tests.factories import execute

HEBREW = "\u05e9\u05dc\u05d5\u05dd"
ESCAPES = "red \x1b[31m bell \x07 clipboard \x1b]52;c;aGk=\x07 turn \u202e c1 \x9b1m"


@pytest.fixture
def recorded(start: StartClient) -> str:
    """Store a session and return its id."""
    client = start()
    session_id: str = client.request("session/open")["session"]["sessionId"]
    events = [
        {"type": "user_message", "data": {"content": f"First line\n{ESCAPES}"}},
        {"type": "tool_call", "data": {"id": "1", "name": "sh", "input": {"cmd": "ls"}}},
        {"type": "tool_result", "data": {"tool_use_id": "1", "content": "no", "is_error": True}},
        {"type": "steps", "data": {"steps": [1, 2]}},
    ]
    client.request("session/append", {"sessionId": session_id, "events": events})
    client.shutdown()
    return session_id


def test_version_is_the_packages() -> None:
    assert run("--version").stdout.strip() == f"segue {segue.__version__}"


def test_list_names_each_session(recorded: str, repository: Path) -> None:
    line = next(line for line in run("list", "--all").stdout.splitlines() if recorded in line)
    assert line.endswith("First line")
    assert f"  {repository}  " in line


def test_list_as_json_is_the_answer_of_session_list(recorded: str, start: StartClient) -> None:
    assert as_json("list", "--all") == start().request("session/list")


def test_list_of_a_workspace_holds_only_its_sessions(recorded: str, repository: Path) -> None:
    assert len(as_json("list", "--cwd", str(repository / "src"))["sessions"]) == 1
    assert as_json("list", "--cwd", str(repository.parent))["sessions"] == []


def test_reading_does_not_create_a_store(database: Path) -> None:
    assert run("list", "--all").stderr == "No conversations yet.\n"
    assert as_json("doctor")["database"]["exists"] is False
    assert not database.parent.exists()


def test_show_prints_the_conversation_without_control_characters(recorded: str) -> None:
    shown = run("show", recorded).stdout
    assert "sh {" in shown
    assert "(error) no" in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert r"\x1b[31m" in shown


def test_show_prints_the_pieces_of_a_message_as_one(start: StartClient, repository: Path) -> None:
    client = start()
    session = client.request("session/open", {"workspace": str(repository), "mode": "new"})
    pieces = [("I **lo", "1"), ("ok**.\n", "1"), ("Then", "1"), ("another", "2"), ("none", None)]
    events = [
        {"type": "text", "data": {"content": text} | ({"message": id} if id else {})}
        for text, id in pieces
    ]
    id = session["session"]["sessionId"]
    client.request("session/append", {"sessionId": id, "events": events})
    shown = run("show", id).stdout
    assert "\nI **look**.\nThen\n\n4 text" in shown
    assert shown.count(" text · ") == 3


def test_show_as_json_holds_what_was_sent(recorded: str) -> None:
    shown = as_json("show", recorded)
    assert shown["session"]["sessionId"] == recorded
    assert shown["events"][0]["data"]["content"] == f"First line\n{ESCAPES}"
    assert [event["seq"] for event in shown["events"]] == [1, 2, 3, 4]


def test_show_of_an_unknown_session_is_an_error() -> None:
    done = run("show", "nope")
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: No session has the id nope."


def test_visible_keeps_printable_text() -> None:
    written = "naïve 你好 👩\u200d👩\u200d👧 עברית\u3000a\u00a0b"
    assert visible(written) == written


@pytest.mark.parametrize(
    ("time", "zone"),
    [
        (-(2**62), "UTC"),
        (-62_135_596_800_000, "Etc/GMT+12"),  # the year 1, where it is still the year 0
        (253_402_300_799_999, "Etc/GMT-14"),  # the year 9999, where it is 10000 already
        (2**62, "UTC"),
    ],
)
def test_a_row_that_was_made_by_hand_is_shown(
    recorded: str, database: Path, time: int, zone: str
) -> None:
    odd = "[/] [bold]x\x1b[31m\x07\u202e\u2066"
    execute(
        database,
        "UPDATE sessions SET id = ?, title = ?, directory = ?, updated_at = ?, created_at = ?",
        odd, odd, odd, time, time,
    )  # fmt: skip
    sql = "UPDATE events SET type = ?, id = ?, created_at = ? WHERE seq = 2"
    execute(database, sql, odd, odd, time)
    for arguments in (["list", "--all", "--archived"], ["show", odd], ["doctor"]):
        done = run(*arguments, TZ=zone)
        assert "Traceback" not in done.stderr
        assert not re.search(
            r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", done.stdout + done.stderr
        )
        if arguments != ["doctor"]:
            assert done.returncode == 0
            assert r"[/] [bold]x\x1b[31m\x07\u202e\u2066" in done.stdout


def test_a_time_without_a_calendar_is_a_number() -> None:
    assert local_time(0).startswith(("1969-12-31", "1970-01-01"))
    assert local_time(253_402_300_800_000) == "253402300800000 ms since 1970"
    assert local_time(-(10**30)) == f"-{10**30} ms since 1970"


@pytest.mark.parametrize("text", [HEBREW, "a العربية"])
def test_right_to_left_text_does_not_reorder_the_rest_of_the_line(text: str) -> None:
    assert isolated(text) == f"\u2068{text}\u2069"
    assert isolated("left to right \u200d") == "left to right \u200d"
    assert visible(f"{text}\u202e\u2069\u200e") == rf"{text}\u202e\u2069\u200e"


@pytest.mark.parametrize("width", [20, 60, 100])
def test_a_narrow_terminal_cuts_titles_and_directories_only(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("ID"), Column("TITLE", is_flexible=True), Column("DIR", is_flexible=True)]
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(columns, [["0123456789", f"{HEBREW} " * 20, "/日本語" * 10]])
    header, line = output.getvalue().splitlines()
    assert header.split() == ["ID", "TITLE", "DIR"]
    assert line.startswith(f"0123456789  \u2068{HEBREW} ")
    assert line.count("\u2068") == line.count("\u2069") == 1
    assert "…\u2069" in line
    assert cell_len(line.translate({0x2068: None, 0x2069: None})) == max(width, 10 + 2 + 8 + 2 + 8)


@pytest.mark.parametrize(("width", "cell", "is_shown"), [(80, "x", 1), (58, "x", 0), (80, "", 0)])
def test_an_optional_column_is_left_out_where_it_is_empty_or_makes_titles_short(
    width: int, cell: str, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("ID"), Column("TITLE", is_flexible=True), Column("WITH", is_optional=True)]
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(columns, [["0123456789", "title " * 20, cell * 26]])
    header, line = output.getvalue().splitlines()
    assert ("WITH" in header) == ("xxxx" in line) == is_shown
    assert cell_len(line) == width


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colors_follow_the_environment(
    is_terminal: bool, environment: dict[str, str], expected: bool
) -> None:
    stream = SimpleNamespace(isatty=lambda: is_terminal)
    assert uses_color(stream, environment) is expected  # type: ignore[arg-type]  # all that it asks


def test_no_color_is_honoured_by_every_command(recorded: str) -> None:
    for command in ("list --all", f"show {recorded}", "doctor", "demo", "--help", "nope"):
        done = run(*command.split(), NO_COLOR="1", FORCE_COLOR="1")
        assert "\x1b" not in done.stdout + done.stderr, command
    for command in ("list --all", f"show {recorded}", "doctor"):
        assert "\x1b[" in run(*command.split(), NO_COLOR="", FORCE_COLOR="1").stdout, command


def test_doctor_finds_no_problem_in_an_intact_store(recorded: str, database: Path) -> None:
    report = as_json("doctor")
    assert report["problems"] == []
    assert report["sqlite"] == {"library": driver.NAME, "version": driver.VERSION, "safe": True}
    assert report["database"]["sessions"] == 1
    assert report["database"]["events"] == 4
    assert report["database"]["modes"][str(database)] == "600"
    assert "all is well" in run("doctor").stdout


def test_doctor_warns_if_others_can_read_the_store(recorded: str, database: Path) -> None:
    database.chmod(0o644)
    done = run("doctor")
    assert done.returncode == 1
    assert f"{database} may be read by others (mode 644)" in done.stdout


def test_doctor_names_the_folders_that_cannot_be_written(database: Path) -> None:
    database.parent.mkdir()
    (database.parent / "backups").write_text("no folder")
    done = run("doctor")
    assert done.returncode == 1
    assert f"{database.parent}/backups cannot be written (Not a directory)" in done.stdout
    (problem,) = as_json("doctor")["problems"]
    assert problem.endswith(
        "Change its permissions, or name another database in the setting `database`"
    )
    assert sorted(path.name for path in database.parent.iterdir()) == ["backups"]


def test_doctor_names_the_stores_of_sandboxes(tmp_path: Path) -> None:
    other = tmp_path / "snap/code/181/.local/share/segue/sessions.db"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x" * 1_234)
    report = json.loads(run("doctor", "--json", HOME=str(tmp_path)).stdout)
    assert report["problems"] == []
    (note,) = report["notes"]
    assert note == (
        f"{other} (1,234 bytes) is another store, made by an editor in a sandbox. "
        f"To list its conversations: segue --database {other} list --all"
    )


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME"])
def test_doctor_warns_of_a_variable_that_decides_which_code_runs(name: str, tmp_path: Path) -> None:
    value = str(tmp_path) if name == "PYTHONPATH" else sys.base_prefix
    done = run("doctor", **{name: value})
    assert done.returncode == 1
    assert f"{name} is set and decides which code this command runs" in done.stdout
    isolated = subprocess.run(
        [sys.executable, "-I", "-m", "segue", "doctor"],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{name} is set; this command ignores it" in isolated.stdout


def test_doctor_and_list_do_not_change_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 100)
    for command in ("doctor", "list"):
        done = run(command, SEGUE_DATABASE=str(file))
        assert done.returncode == 1
        assert f"{file} is not a SQLite database" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert file.read_text() == "not a database\n" * 100


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    wrong = run("lsp", "--continue-minutes", "nan")
    assert (wrong.returncode, wrong.stderr.strip()) == (
        2,
        "segue: --continue-minutes: expected a number of minutes, got 'nan'",
    )
    for command in ("list", "doctor", "lsp"):
        done = run(command, SEGUE_CONTINUE_MINUTES="soon")
        assert done.returncode != 0
        assert "SEGUE_CONTINUE_MINUTES: expected a number of minutes, got 'soon'" in done.stderr


def test_the_demo_keeps_every_promise() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stdout
    assert "Nothing lost, nothing twice." in done.stdout
    assert "Next: `segue import --discover`" in done.stdout
    assert "✗" not in done.stdout


def test_the_demo_ignores_the_environment(tmp_path: Path) -> None:
    done = run("demo", SEGUE_CONTINUE_MINUTES="0", GIT_DIR=str(tmp_path / "elsewhere"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_fails_where_a_promise_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_id(session_id: str, event: dict[str, Any]) -> dict[str, Any]:
        event_without_id = {"type": event["type"], "data": event["data"]}
        return {"sessionId": session_id, "events": [event_without_id]}

    monkeypatch.setattr(demo, "_append", without_id)
    assert demo.run(local_engine()) == 1
    assert "✗ nothing lost" in capsys.readouterr().out


def test_the_server_does_not_import_the_libraries_of_the_commands() -> None:
    code = (
        "import sys; sys.argv = ['segue', 'lsp', '--help']\n"
        "from segue.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'click', 'rich'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_backup_can_be_listed(recorded: str, database: Path) -> None:
    path, summary = run("backup").stdout.splitlines()
    assert Path(path).parent == database.parent / "backups"
    assert summary.startswith("1 sessions, 4 events, ")
    assert as_json("--database", path, "list", "--all") == as_json("list", "--all")


def test_backup_overwrites_nothing(recorded: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    assert run("backup", str(target)).returncode == 0
    before = target.read_bytes()
    again = run("backup", str(target))
    assert (again.returncode, target.read_bytes()) == (1, before)
    assert again.stderr == f"Error: {target} exists already. It was left as it is.\n"


@pytest.fixture
def copy(recorded: str, database: Path, tmp_path: Path) -> Path:
    """Return a backup; the store has changed since."""
    target = tmp_path / "copy.db"
    assert run("backup", str(target)).returncode == 0
    execute(database, "UPDATE sessions SET title = 'changed'")
    return target


def test_restore_shows_what_it_replaces_and_keeps_it(
    recorded: str, copy: Path, database: Path
) -> None:
    done = run("restore", str(copy), "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    restored, present, said, kept = done.stdout.splitlines()
    when = r"1 sessions, 4 events, the newest of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(f"{re.escape(str(copy))}: {when}", restored)
    assert re.fullmatch(f"replaces {re.escape(str(database))}: {when}", present)
    assert said == "Restored."
    path = Path(kept.removeprefix("The former database is kept as "))
    assert as_json("--database", str(path), "list", "--all")["sessions"][0]["title"] == "changed"
    assert as_json("list", "--all")["sessions"][0]["title"] == "First line"
    copies = as_json("doctor")["copies"]
    assert [(each["kind"], each["path"]) for each in copies] == [("replaced", str(path))]
    assert f"copies    1 set aside by `segue restore`, {copies[0]['bytes']:,} bytes: {path}" in (
        run("doctor").stdout
    )


def test_restore_asks_where_it_can(copy: Path, database: Path) -> None:
    before = database.read_bytes()
    refused = run("restore", str(copy))
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: Nobody can be asked here, so nothing was changed.")
    assert at_terminal("Replace it?", "n", "restore", str(copy)) == 1
    assert database.read_bytes() == before
    assert at_terminal("Replace it?", "y", "restore", str(copy)) == 0
    assert as_json("list", "--all")["sessions"][0]["title"] == "First line"


def test_restore_refuses_while_an_editor_has_the_database_open(
    copy: Path, start: StartClient
) -> None:
    client = start()
    client.request("session/list")
    done = run("restore", str(copy), "--yes")
    assert done.returncode == 1
    assert "Close them, then restore again; nothing was changed." in done.stderr
    assert str(client.process.pid) in done.stderr
    client.shutdown()
    assert run("restore", str(copy), "--yes").returncode == 0


@pytest.mark.parametrize("source", ["missing.db", "-", "."])
def test_restore_of_what_is_no_backup_is_an_error(copy: Path, source: str) -> None:
    done = run("restore", "--yes", source)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)


def test_doctor_says_that_a_replacement_was_interrupted(
    recorded: str, database: Path, tmp_path: Path
) -> None:
    folder = database.with_name("sessions.db.rescue")
    assert run("backup", str(tmp_path / "copy.db")).returncode == 0
    folder.mkdir(mode=0o700)
    (tmp_path / "copy.db").rename(folder / "complete")
    database.with_name("sessions.db-replacement").write_text("sessions.db.replaced-1")
    done = run("doctor")
    assert done.returncode == 1
    assert "was interrupted" in done.stdout
    listed = run("list", "--all")
    assert recorded in listed.stdout
    assert "is finished now" in listed.stderr
    assert run("doctor").returncode == 0
    assert database.with_name("sessions.db.replaced-1").is_file()


@pytest.mark.parametrize("command", ["backup", "doctor --repair"])
def test_backup_and_repair_of_a_missing_database_are_errors(command: str, database: Path) -> None:
    done = run(*command.split())
    assert (done.returncode, done.stderr) == (1, f"Error: there is no database at {database} yet\n")
    assert not database.parent.exists()


def test_repair_does_not_change_an_intact_database(recorded: str, database: Path) -> None:
    before = database.read_bytes()
    assert run("doctor", "--repair").stdout == f"{database} is whole. Nothing was changed.\n"
    assert database.read_bytes() == before


def test_repair_saves_what_can_be_read_and_quarantines_the_damaged_file(
    recorded: str, database: Path
) -> None:
    (page,) = execute(
        database, "SELECT rootpage FROM sqlite_master WHERE name = ?", "resumable_by_git_root"
    )
    with database.open("r+b") as file:
        file.seek((page["rootpage"] - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    damaged = database.read_bytes()
    assert run("doctor").returncode == 1
    done = run("doctor", "--repair")
    assert done.returncode == 0
    (quarantined,) = database.parent.glob("*.corrupt-*")
    assert quarantined.read_bytes() == damaged
    assert str(quarantined) in done.stdout
    assert "4 events of 1 sessions" in done.stdout
    assert run("doctor").returncode == 0
    assert len(as_json("show", recorded)["events"]) == 4


@pytest.mark.parametrize("length", range(1, 26))
def test_a_truncated_frame_ends_the_messages(length: int) -> None:
    frame = b'Content-Length: 8\r\n\r\n{"id":1}'
    client = Client.__new__(Client)
    client.process = SimpleNamespace(stdout=io.BytesIO(frame + frame[:length]))  # type: ignore[assignment]  # all that it reads
    assert list(client._messages()) == [{"id": 1}]
