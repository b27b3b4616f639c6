"""`segue watch`: real processes, and transcripts that grow while they run."""

import asyncio
import contextlib
import json
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from segue.store.sqlite.service import LocalSessionService
from tests.agents import claude
from tests.agents.conftest import Imports
from tests.agents.helpers import run_import
from tests.cli.helpers import as_json, run

BOUND_S = 4.0
"""What is written is in the store within this time: 2 seconds and the load of this machine."""

END_S = 5.0
SETTLED_S = 1.0

SOON = "import segue.sessions.watching as w; w.LOOK_INTERVAL_S = 1.0; w.RETRY_S = (0.2, 0.5)"
"""Makes a process look, and try again, so often that a test need not wait for a minute."""

WITHOUT_WATCHDOG = "import sys; sys.modules['watchdog'] = None; " + SOON.replace(
    "LOOK_INTERVAL_S", "BLIND_LOOK_INTERVAL_S"
)


class Watch:
    """A `segue watch --json`, and what it has printed."""

    def __init__(self, prepare: str = SOON, *, stdin: int = subprocess.PIPE) -> None:
        program = f"{prepare}; from segue.startup.compose import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, "watch", "--json"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._problems: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=_read, args=(self.process.stdout, self._lines)),
            threading.Thread(target=_read, args=(self.process.stderr, self._problems)),
        ]
        for each in self._threads:
            each.start()

    def next(self, event: str, timeout_s: float = 20.0) -> Any:
        """Return the next line, which is of this event."""
        line = json.loads(self._lines.get(timeout=timeout_s))
        assert line["event"] == event
        return line

    def problem(self) -> str:
        return self._problems.get(timeout=20)

    def silence(self, seconds: float = SETTLED_S) -> None:
        """Assert that nothing is printed for so long."""
        time.sleep(seconds)
        assert (list(self._lines.queue), list(self._problems.queue)) == ([], [])

    def wakeups(self) -> int:
        tasks = Path(f"/proc/{self.process.pid}/task")
        states = (each.joinpath("status").read_text().splitlines() for each in tasks.iterdir())
        return sum(int(line.split()[1]) for lines in states for line in lines if "ctxt" in line)

    def close(self) -> None:
        """End it, if it has not ended, and wait for that."""
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _read(stream: TextIO, lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME", "GEMINI_CLI_HOME"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def start(*arguments: Any, **options: Any) -> Watch:
        started.append(Watch(*arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


StartWatch = Callable[..., Watch]


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def texts(session: str = claude.SESSION) -> list[Any]:
    return [each["data"].get("content") for each in as_json("show", session)["events"]]


def session_number(number: int) -> str:
    return f"1b0f0a52-7d0a-4b0f-9d9a-{number:012d}"


def other(number: int, content: str = "Another") -> bytes:
    """Return a transcript of another conversation."""
    line = claude.lines(claude.user(1, content))
    for old, new in (
        (claude.SESSION, session_number(number)),
        ("4000-8000", f"4{number:03d}-8000"),
    ):
        line = line.replace(old.encode(), new.encode())
    return line


def test_a_conversation_is_stored_while_it_grows(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Mend the parser")))
    watching = watch()

    (found,) = watching.next("watching")["sources"]
    assert (found["source"], found["conversations"], found["newEvents"]) == ("claude-code", 1, 1)
    assert found["folders"] == [str(home / ".claude" / "projects")]
    for number in range(2, 5):
        append(path, claude.lines(claude.text(number, f"answer {number}", number - 1)))
        line = watching.next("imported", BOUND_S)
        assert (line["sessionId"], line["newEvents"]) == (claude.SESSION, 1)
        assert line["title"] == "Mend the parser"
    assert texts() == ["Mend the parser", "answer 2", "answer 3", "answer 4"]


def test_what_is_written_in_a_burst_is_imported_at_once(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch()
    watching.next("watching")

    begun = time.monotonic()
    for number in range(2, 52):
        append(path, claude.lines(claude.text(number, "more", number - 1)))
        time.sleep(0.1)
    total, imports = 0, 0
    while total < 50:
        total += watching.next("imported", BOUND_S)["newEvents"]
        imports += 1
    assert imports <= (time.monotonic() - begun) / 2 + 2


def test_a_line_that_is_half_written_waits_for_its_end(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch()
    watching.next("watching")
    line = claude.lines(claude.text(2, "whole", 1))

    append(path, line[:40])
    watching.silence(3.0)
    append(path, line[40:])

    assert watching.next("imported", BOUND_S)["newEvents"] == 1
    assert texts() == ["Go", "whole"]


def test_a_new_conversation_in_a_new_folder_is_imported(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch("pass")
    watching.next("watching")

    new = path.parent.parent / "-another-project" / f"{session_number(2)}.jsonl"
    new.parent.mkdir()
    new.write_bytes(other(2))

    assert watching.next("imported", BOUND_S)["sessionId"] == session_number(2)


def test_a_program_that_is_first_used_later_is_found(home: Path, watch: StartWatch) -> None:
    watching = watch()
    assert watching.next("watching")["sources"] == []

    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    assert watching.next("imported", BOUND_S)["newEvents"] == 1
    watching.silence()
    append(path, claude.lines(claude.text(2, "answer", 1)))
    assert watching.next("imported", BOUND_S)["newEvents"] == 1


def test_a_folder_that_replaces_another_is_watched(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch("import segue.sessions.watching as w; w.LOOK_INTERVAL_S = 6.0")
    watching.next("watching")

    path.parent.parent.rename(home / "away")
    new = claude.transcript(home, other(2), session_number(2))
    assert watching.next("imported", 6 + BOUND_S)["sessionId"] == session_number(2)
    append(new, claude.lines(claude.text(60, "answer", 1)))
    assert watching.next("imported", 5)["newEvents"] == 1, "before the next look"
    assert texts() == ["Go"]


def test_a_folder_behind_a_link_is_watched(home: Path, watch: StartWatch) -> None:
    real = home / "dotfiles" / "projects"
    real.mkdir(parents=True)
    (home / ".claude").mkdir()
    (home / ".claude" / "projects").symlink_to(real)
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch("pass")
    watching.next("watching")

    append(real / path.parent.name / path.name, claude.lines(claude.text(2, "answer", 1)))
    assert watching.next("imported", BOUND_S)["newEvents"] == 1
    (real / "-new").mkdir()
    (real / "-new" / f"{session_number(2)}.jsonl").write_bytes(other(2))
    assert watching.next("imported", BOUND_S)["sessionId"] == session_number(2)


def test_a_file_that_is_replaced_is_read_anew_and_one_that_is_deleted_changes_nothing(
    home: Path, watch: StartWatch
) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go"), claude.text(2, "old", 1)))
    watching = watch("pass")
    watching.next("watching")

    draft = path.with_name("draft")
    draft.write_bytes(claude.lines(claude.user(1, "Go"), claude.text(3, "new", 1)))
    draft.replace(path)
    fork = watching.next("imported", BOUND_S)["sessionId"]
    path.unlink()
    watching.silence(2.5)

    assert texts() == ["Go", "old"]
    assert texts(fork) == ["Go", "new"]


def test_what_is_in_a_write_ahead_log_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch, watch: StartWatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "share"))
    path = home / "share" / "atuin" / "ai_sessions.db"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE sessions (id TEXT, directory TEXT)")
        db.execute(
            "CREATE TABLE session_events "
            "(id TEXT, session_id TEXT, event_type TEXT, event_data TEXT, created_at INTEGER)"
        )
        db.execute("INSERT INTO sessions VALUES (?, '/p')", (claude.SESSION,))
        insert = "INSERT INTO session_events VALUES (?, ?, 'user_message', ?, 1767225600)"
        db.execute(insert, ("1", claude.SESSION, '{"content": "one"}'))
        watching = watch("pass")
        assert watching.next("watching")["sources"][0]["conversations"] == 1
        size = path.stat().st_size

        db.execute(insert, ("2", claude.SESSION, '{"content": "two"}'))

        assert watching.next("imported", BOUND_S)["newEvents"] == 1
        assert path.stat().st_size == size
        watching.silence(3.0)
    assert texts() == ["one", "two"]


def test_a_store_that_is_locked_is_tried_again_and_said_once(
    home: Path, database: Path, watch: StartWatch
) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch()
    watching.next("watching")

    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        append(path, claude.lines(claude.text(2, "answer", 1)))
        problem = watching.problem()
        time.sleep(2)
        db.execute("ROLLBACK")

    assert "locked" in problem
    assert "tried again" in problem
    assert watching.next("imported", 15)["newEvents"] == 1
    watching.silence()


def test_a_store_that_cannot_be_made_is_tried_again_and_said_once(
    home: Path, database: Path, watch: StartWatch
) -> None:
    claude.transcript(home, claude.lines(claude.user(1, "Go")))
    database.parent.write_text("not a folder")
    watching = watch()
    assert str(database.parent) in watching.problem()
    watching.silence(2.0)

    database.parent.unlink()

    assert watching.next("watching")["sources"][0]["newEvents"] == 1
    watching.silence()


def test_a_store_that_is_not_one_is_said_once_and_works_when_it_is_gone(
    home: Path, database: Path, watch: StartWatch
) -> None:
    claude.transcript(home, claude.lines(claude.user(1, "Go")))
    database.parent.mkdir(mode=0o700)
    database.write_bytes(b"not a database " * 100)
    database.chmod(0o600)
    watching = watch()
    assert "not a SQLite database" in watching.problem()
    watching.silence(2.0)

    database.unlink()

    assert watching.next("watching")["sources"][0]["newEvents"] == 1


def test_a_file_that_cannot_be_read_is_said_once_and_costs_the_others_nothing(
    home: Path, watch: StartWatch
) -> None:
    claude.transcript(home, claude.lines(claude.user(1, "Go")))
    odd = claude.transcript(home, b"", session_number(2))
    odd.unlink()
    odd.mkdir()
    watching = watch()

    assert watching.next("watching")["sources"][0]["conversations"] == 1
    assert "not a file" in watching.problem()
    watching.silence(3.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once(home: Path, watch: StartWatch, number: signal.Signals) -> None:
    watching = watch()
    watching.next("watching")

    watching.process.send_signal(number)

    assert watching.process.wait(timeout=END_S) == 0
    assert watching._problems.empty()


def test_the_end_of_stdin_ends_it_at_once(home: Path, watch: StartWatch) -> None:
    watching = watch()
    watching.next("watching")
    assert watching.process.stdin is not None

    watching.process.stdin.close()

    assert watching.process.wait(timeout=END_S) == 0


def test_one_that_waits_for_its_turn_ends_at_once(home: Path, watch: StartWatch) -> None:
    watch().next("watching")
    second = watch()
    second.next("waiting")

    second.process.terminate()

    assert second.process.wait(timeout=END_S) == 0


def test_it_goes_on_without_a_standard_input(home: Path, watch: StartWatch) -> None:
    watching = watch(stdin=subprocess.DEVNULL)
    watching.next("watching")
    watching.silence()
    assert watching.process.poll() is None


def test_a_signal_that_is_ignored_does_not_end_it(home: Path, watch: StartWatch) -> None:
    watching = watch(f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {SOON}")
    watching.next("watching")
    watching.process.send_signal(signal.SIGHUP)
    watching.silence()
    assert watching.process.poll() is None


def test_of_two_one_works_and_the_other_takes_over_when_it_is_killed(
    home: Path, watch: StartWatch
) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    first = watch()
    first.next("watching")
    second = watch()
    second.next("waiting")

    append(path, claude.lines(claude.text(2, "answer", 1)))
    assert first.next("imported", BOUND_S)["newEvents"] == 1
    second.silence()
    append(path, claude.lines(claude.text(3, "lost to nobody", 2)))
    first.process.kill()

    assert second.next("watching")["sources"][0]["newEvents"] in (0, 1)
    append(path, claude.lines(claude.text(4, "answer", 3)))
    assert second.next("imported", BOUND_S)["newEvents"] == 1
    assert texts() == ["Go", "answer", "lost to nobody", "answer"]


def test_nothing_is_open_while_nothing_happens(
    home: Path, database: Path, watch: StartWatch
) -> None:
    claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch()
    watching.next("watching")
    watching.silence()
    copy = database.with_name("copy.db")

    assert run("backup", str(copy)).returncode == 0
    assert run("restore", str(copy), "--yes").returncode == 0


async def test_killed_in_the_middle_and_started_again_it_stores_what_one_import_does(
    home: Path, tmp_path: Path, database: Path, watch: StartWatch
) -> None:
    paths = []
    for number in range(1, 7):
        content = other(number).replace(b"Another", b"Conversation %d" % number)
        answers = claude.lines(*(claude.text(n % 60, f"answer {n}", 1) for n in range(2, 300)))
        for at, line in enumerate(answers.splitlines(keepends=True)):
            content += line.replace(b"4000-8000", b"4%03d-8000" % number).replace(
                b'"uuid": "0000', b'"uuid": "%04d' % at
            )
        paths.append(claude.transcript(home, content, session_number(number)))
    service = await LocalSessionService.open(tmp_path / "once" / "sessions.db")
    await run_import(service, "claude-code", *paths)
    expected = await Imports(service).shown()
    await service.close()
    assert [len(each) for each in expected.values()] == [299] * 6

    for delay_s in (0.5, 0.7, 0.9, 1.2):
        watching = watch()
        await asyncio.sleep(delay_s)
        watching.close()
    watch().next("watching", 60)

    service = await LocalSessionService.open(database)
    assert await Imports(service).shown() == expected
    await service.close()


def test_it_works_without_reports_of_the_system(home: Path, watch: StartWatch) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch(WITHOUT_WATCHDOG)
    assert "watchdog" in watching.problem()
    watching.next("watching")

    append(path, claude.lines(claude.text(2, "answer", 1)))

    assert watching.next("imported", BOUND_S)["newEvents"] == 1
    watching.silence(2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_costs_nothing_while_nothing_happens(home: Path, watch: StartWatch) -> None:
    claude.transcript(home, claude.lines(claude.user(1, "Go")))
    watching = watch("pass")
    watching.next("watching")
    time.sleep(3)

    before = watching.wakeups()
    time.sleep(4)

    assert watching.wakeups() == before


def test_for_a_person_it_prints_one_line_each_and_no_text_of_a_conversation(
    home: Path,
) -> None:
    path = claude.transcript(home, claude.lines(claude.user(1, "Mend it")))
    with subprocess.Popen(
        [sys.executable, "-m", "segue", "watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        append(path, claude.lines(claude.text(2, "said in secret", 1)))
        second = process.stdout.readline()
        rest, problems = process.communicate()
    assert first.startswith("Watching Claude Code (1 conversation in ")
    assert "New events: 1." in first
    assert second.split(maxsplit=1)[1] == "claude-code 1 event Mend it\n"
    assert (rest, problems, process.returncode) == ("", "", 0)


def test_a_file_that_nobody_has_foreseen_costs_the_others_nothing(
    home: Path, watch: StartWatch
) -> None:
    odd = claude.transcript(home, claude.lines(claude.user(1, "Odd")))
    claude.transcript(home, other(2), session_number(2))
    fault = (
        "import segue.agents.claude_code as c; read = c.read; "
        f"c.read = lambda path, states: 1 / 0 if str(path) == {str(odd)!r} else read(path, states)"
    )
    watching = watch(f"{SOON}; {fault}")

    assert watching.next("watching")["sources"][0]["newEvents"] == 1
    assert f"{odd}: ZeroDivisionError" in watching.problem()
    watching.silence(2.5)
