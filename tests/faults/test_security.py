"""Security: file modes, hostile repositories, terminal escapes, logs, sockets and deletion."""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from segue.model.workspace import locate_workspace
from segue.store.sqlite import driver
from tests.faults.runner import PACKAGE, Guard, without
from tests.faults.sandbox import open_new, user_message

Json = dict[str, Any]
StartClient = Callable[..., Client]
CANARY = "canary-3f9c1d"
needs_linux = pytest.mark.skipif(not os.path.isdir("/proc/self/net"), reason="needs /proc")


def append(client: Client, session: str, *events: Json) -> Any:
    return client.request("session/append", {"sessionId": session, "events": list(events)})


def run_segue(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "segue", *arguments],
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
    )


# -- file modes --------------------------------------------------------------------------------


class ModeSampler(threading.Thread):
    """Records the modes of a folder and its files continuously until `stop`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.modes: dict[str, set[int]] = {}
        self.samples = 0
        self._folder = folder
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.0005):
            self.samples += 1
            self._record(self._folder)
            with contextlib.suppress(FileNotFoundError):
                for path in self._folder.iterdir():
                    self._record(path)

    def _record(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.modes.setdefault(path.name, set()).add(stat.S_IMODE(path.lstat().st_mode))

    def stop(self) -> dict[str, set[int]]:
        self._stopped.set()
        self.join()
        return self.modes


WRITER = """
import os, sys
os.umask(int(sys.argv[1], 8))
from pathlib import Path
from segue.cli.client import Client
for _ in range(3):
    client = Client(Path.cwd())
    client.initialize()
    session = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
    for number in range(40):
        event = {"type": "text", "data": {"content": "x" * 20_000}}
        client.request("session/append", {"sessionId": session, "events": [event]})
    client.request("session/delete", {"sessionId": session})
    client.shutdown()
"""


def modes_while_writing(umask: str, database: Path, package: Path) -> dict[str, set[int]]:
    sampler = ModeSampler(database.parent)
    sampler.start()
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-c", WRITER, umask], env=environment, check=True, timeout=60)
    modes = sampler.stop()
    assert sampler.samples > 50
    return modes


FILES = {f"sessions.db{suffix}" for suffix in ("", "-wal", "-shm", "-lock", "-write.lock")}


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_files_are_private_at_all_times(umask: str, database: Path) -> None:
    modes = modes_while_writing(umask, database, PACKAGE)

    assert modes.keys() >= FILES
    assert modes.pop("data") == {0o700}
    assert {name: each for name, each in modes.items() if each != {0o600}} == {}


def test_control_files_are_not_private_if_they_are_made_with_any_mode(
    database: Path, tmp_path: Path
) -> None:
    guard = Guard(
        file="store/sqlite/disk.py",
        code="            os.fchmod(fd, 0o600)\n",
        replacement="            os.fchmod(fd, 0o644)\n",
    )
    modes = modes_while_writing("000", database, without(guard, tmp_path))

    assert modes["sessions.db"] != {0o600}


# -- hostile repositories ----------------------------------------------------------------------

TRAP = "import pathlib; pathlib.Path({!r}).write_text('executed')\n"


def git_link_outside(repository: Path, outside: Path) -> None:
    (repository / ".git").symlink_to(outside)


def git_fifo(repository: Path, outside: Path) -> None:
    os.mkfifo(repository / ".git")


def git_huge(repository: Path, outside: Path) -> None:
    with (repository / ".git").open("wb") as file:
        file.truncate(1 << 30)


def git_loop(repository: Path, outside: Path) -> None:
    (repository / ".git").symlink_to(repository / "git")
    (repository / "git").symlink_to(repository / ".git")


def git_unreadable(repository: Path, outside: Path) -> None:
    (repository / ".git").write_text("gitdir: ../x")
    (repository / ".git").chmod(0)


def gitdir_outside(repository: Path, outside: Path) -> None:
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def gitdir_with_fifo(repository: Path, outside: Path) -> None:
    os.mkfifo(outside / "commondir")
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def gitdir_with_device(repository: Path, outside: Path) -> None:
    (outside / "commondir").symlink_to("/dev/zero")
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def gitdir_garbage(repository: Path, outside: Path) -> None:
    (repository / ".git").write_bytes(b"gitdir: \x00\xff\n" * 1_000)


HOSTILE = [
    git_link_outside, git_fifo, git_huge, git_loop, git_unreadable, gitdir_outside,
    gitdir_with_fifo, gitdir_with_device, gitdir_garbage,
]  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a workspace whose files would do harm if they were read or executed."""
    workspace = tmp_path / "cloned"
    trap = TRAP.format(str(tmp_path / "executed"))
    elsewhere = tmp_path / "elsewhere.db"
    files = {
        ".env": f"SEGUE_DATABASE={elsewhere}\nPYTHONPATH={workspace}\n",
        "config.toml": f'database = "{elsewhere}"\n',
        "segue/config.toml": f'database = "{elsewhere}"\n',
        ".vscode/settings.json": json.dumps({"segue.database": str(elsewhere)}),
        ".config/segue/config.toml": f'database = "{elsewhere}"\n',
        "setup.cfg": "[segue]\ndatabase = x\n",
    }
    modules = ["sqlite3", "json", "segue/__init__", "segue/__main__", "sitecustomize", "pygls",
               "usercustomize", "aiosqlite", "pysqlite3/__init__", "attrs"]  # fmt: skip
    files |= {f"{module}.py": trap for module in modules}
    for name, content in files.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(content)
    return workspace


SEGUE = [str(Path(sys.executable).with_name("segue")), "lsp"]
"""As an editor starts it: `python -m segue` would import from the current directory."""


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_git_file_is_neither_followed_nor_waited_for(
    make: Callable[[Path, Path], None], hostile: Path, tmp_path: Path, start: StartClient
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    make(hostile, outside)
    client = start()

    began = time.monotonic()
    opened = client.request("session/open", {"workspace": str(hostile)})
    assert time.monotonic() - began < 1

    assert opened["session"]["directory"] == os.path.realpath(hostile)
    assert opened["session"]["gitRoot"] in (None, os.path.realpath(hostile))
    assert append(client, opened["session"]["sessionId"], user_message("one"))["eventCount"] == 1
    assert list(outside.iterdir()) in ([], [outside / "commondir"])


def test_nothing_in_the_workspace_is_read_or_executed(
    hostile: Path, tmp_path: Path, database: Path
) -> None:
    client = Client(hostile, command=SEGUE)
    client.initialize(rootUri=hostile.as_uri())
    append(client, open_new(client), user_message("one"))
    assert client.shutdown() == 0
    listed = subprocess.run(
        [SEGUE[0], "list", "--json"], cwd=hostile, capture_output=True, check=True, timeout=60
    )

    assert len(json.loads(listed.stdout)["sessions"]) == 1
    assert database.exists()
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "elsewhere.db").exists()


def test_control_without_a_size_limit_the_git_file_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.git` of 1 GB costs nothing because only its beginning is read."""
    from segue.model import workspace

    git_huge(tmp_path, tmp_path)
    began = time.monotonic()
    locate_workspace(str(tmp_path))
    with_limit = time.monotonic() - began
    monkeypatch.setattr(workspace, "_LONGEST_GIT_FILE", 1 << 26)
    began = time.monotonic()
    locate_workspace(str(tmp_path))

    assert time.monotonic() - began > 5 * with_limit


# -- terminal escapes --------------------------------------------------------------------------


def payloads() -> list[str]:
    """Return some two hundred strings that would control a terminal that prints them."""
    controls = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"]
    bidi = [
        chr(c) for c in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    ]
    sequences = [
        "[2J", "[H", "[31m", "[?1049h", "[6n", "[5n", "[c", "[>c", "[21t", "[?25l", "[1;31r",
        "[10A", "]0;title\x07", "]2;title\x1b\\", "]52;c;ZXZpbA==\x07", "]52;p;ZXZpbA==\x1b\\",
        "]4;1;?\x07", "]8;;http://evil\x07text\x1b]8;;\x07", "]1337;File=:AAAA\x07", "]133;A\x07",
        "]777;notify;a;b\x07", "P+q544e\x1b\\", "Pq#0\x1b\\", "_Gf=100;AAAA\x1b\\", "^x\x1b\\",
        "Xx\x1b\\", "c", "7", "8", "(0", "#8", "=", ">", "N", "O", "[200~ls\n[201~", "[?2004h",
        "[?1000h", "[!p", "]50;#1\x07", "]11;?\x07",
    ]  # fmt: skip
    eight_bit = ["\x9b2J", "\x9d52;c;ZXZpbA==\x9c", "\x90q\x9c", "\x98x\x9c", "\x9e\x9f\x9c"]
    tricks = [
        "safe\revil",
        "evil\b\b\b\bsafe",
        "a\x0bb",
        "a\x0cb",
        "\x1b\n[31m",
        "\x1b\t]52;c;A\x07",
        "\u2028\u2029",
        "\ufeff",
        "\U000e0041\U000e007f",
        "\u2060\u2061",
        "\ufff9x\ufffb",
        "\xad",
        "\ud83d",
        "\udc9b",
        "\u180e",
        "\ue000",
    ]
    escapes = [f"\x1b{sequence}" for sequence in sequences]
    embedded = [f"before {each} after" for each in [*escapes, *eight_bit, *tricks]]
    return [*controls, *bidi, *escapes, *eight_bit, *tricks, *embedded]


def control_characters(output: bytes) -> list[str]:
    """Return the characters of a command's output that could control a terminal."""
    return re.findall(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
        "\ufff9-\ufffb\U000e0000-\U000e007f\xad]",
        output.decode("utf-8", "replace"),
    )


def events_with(payload: str) -> list[Json]:
    """Return events with *payload*, whole and in parts, wherever the command line shows data."""
    half = len(payload) // 2
    return [
        {"type": "user_message", "data": {"content": payload}},
        {"type": "text", "data": {"content": payload[:half]}},
        {"type": "text", "data": {"content": payload[half:]}},
        {
            "type": "tool_call",
            "data": {"id": payload, "name": payload, "input": {payload: payload}},
        },
        {"type": "tool_result", "data": {"tool_use_id": "1", "content": payload, "is_error": True}},
        {"type": "x_unknown", "data": {payload: [payload]}},
        {"type": "x" + re.sub("[\ud800-\udfff]", "", payload)[:100], "data": {"v": payload}},
    ]


@pytest.fixture
def hostile_sessions(start: StartClient, tmp_path: Path) -> list[str]:
    """Return the ids of sessions with every payload, some in a folder whose name is one."""
    folder = tmp_path / "a\x1b]52;c;ZXZpbA==\x07\u202eb\rc\nd"
    folder.mkdir()
    client = start()
    ids = []
    for number, payload in enumerate(payloads()):
        where = {"workspace": str(folder)} if number % 10 == 0 else {}
        session = client.request("session/open", {"mode": "new"} | where)["session"]["sessionId"]
        append(client, session, *events_with(payload))
        ids.append(session)
    assert client.shutdown() == 0
    return ids


SHOW_ALL = """
import sys
from segue.cli import segue
from segue.startup.compose import make_application
for id in sys.argv[1:]:
    segue(["show", id], obj=make_application(), standalone_mode=False)
"""


def show_all(ids: list[str], package: Path = PACKAGE) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, *ids],
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def test_no_stored_data_controls_a_terminal(
    hostile_sessions: list[str], tmp_path: Path, database: Path
) -> None:
    assert len(hostile_sessions) > 190
    output = show_all(hostile_sessions)
    assert output.count(b"\n") > 6 * len(hostile_sessions)
    assert control_characters(output) == []
    for options in ([], ["--limit", "1000", "--archived"], ["--json"]):
        listed = run_segue("list", "--all", *options)
        assert listed.returncode == 0
        assert control_characters(listed.stdout + listed.stderr) == []
    moved = tmp_path / "d\x1b[2J\u202e" / "sessions.db"
    moved.parent.mkdir()
    database.rename(moved)
    for name in ("doctor", "list"):
        done = run_segue(name, SEGUE_DATABASE=str(moved))
        assert control_characters(done.stdout + done.stderr) == []
    moved.write_bytes(b"\x1b]52;c;ZXZpbA==\x07" * 100)
    for name in ("doctor", "list"):
        done = run_segue(name, SEGUE_DATABASE=str(moved))
        assert done.returncode == 1
        assert control_characters(done.stdout + done.stderr) == []


def test_control_unescaped_data_controls_a_terminal(
    hostile_sessions: list[str], tmp_path: Path
) -> None:
    guard = Guard(
        file="cli/printing.py",
        code="    category = unicodedata.category(char)\n",
        # A lone surrogate has no UTF-8 and would end the command.
        replacement="    return '\\ud800' <= char <= '\\udfff'\n"
        "    category = unicodedata.category(char)\n",
    )
    assert {"\x1b", "\x9b", "\u202e", "\r", "\b"} <= set(
        control_characters(show_all(hostile_sessions, without(guard, tmp_path)))
    )


# -- errors and logs ---------------------------------------------------------------------------


class ErrorClient:
    """A client that causes errors and collects them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.kinds: set[str] = set()
        self.errors: list[str] = []

    def fail(self, method: str, params: Json) -> None:
        """Send a request that must fail."""
        error = self.client.answer(self.client.send(method, params)).get("error")
        assert error is not None, (method, params)
        self.kinds.add((error.get("data") or {}).get("kind") or str(error["code"]))
        self.errors.append(json.dumps(error))


def cause_errors(start: StartClient, database: Path) -> ErrorClient:
    """Cause every kind of error that a client can, each by a request that holds the canary."""
    failing, other = ErrorClient(start(SEGUE_LOG="debug")), start(SEGUE_LOG="debug")
    canary = user_message(CANARY, "1")
    session = open_new(failing.client)
    here: Json = {"sessionId": session}
    failing.fail("session/append", here | {"parentId": CANARY, "events": [canary]})
    append(failing.client, session, canary)
    other.request("session/open", here)
    append(other, session, user_message(f"{CANARY} elsewhere"))
    failing.fail("session/append", here | {"events": [user_message(f"{CANARY} late")]})
    failing.fail("session/append", here | {"events": [user_message(f"{CANARY} other", "1")]})
    failing.fail(
        "session/append", here | {"events": [{"type": "text", "data": {"content": [CANARY]}}]}
    )
    failing.fail(
        "session/append", here | {"events": [{"type": "x", "data": {CANARY: float("nan")}}]}
    )
    failing.fail("session/append", {"sessionId": CANARY[:6], "events": [canary]})
    failing.fail("session/events", {"sessionId": "none"})
    failing.fail("session/setMetadata", here | {"key": "k", "value": [CANARY, float("inf")]})
    failing.fail("session/unknown", {"text": CANARY})
    failing.fail("initialize", {"clientInfo": CANARY})
    failing.fail("session/open", {"mode": "resume", "continueMinutes": 0})
    failing.client.request("session/archive", here)
    failing.fail(
        "session/append", here | {"parentId": None, "events": [user_message(CANARY, "new")]}
    )
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON events WHEN NEW.data LIKE '%canary%' "
            "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        failing.fail(
            "session/append",
            {"sessionId": open_new(failing.client), "events": [user_message(CANARY)]},
        )
        db.execute("DROP TRIGGER broken")
    for body in (b'{"%b', b'["%b"]', b'{"id":null,"%b":1}', b'\xff"%b"'):
        frame = body % CANARY.encode()
        failing.client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(frame), frame))
        failing.errors.append(json.dumps(failing.client.answer(None)))
    failing.client.write_bytes(f"X-Canary {CANARY}\r\n\r\n".encode())
    failing.errors.append(json.dumps(failing.client.answer(None)))
    failing.client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": CANARY}})
    for client in (failing.client, other):
        assert client.shutdown() == 0
    return failing


def test_no_error_and_no_log_line_holds_conversation_content(
    start: StartClient, database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = cause_errors(start, database)

    assert failing.kinds >= {
        "HeadMoved", "SessionNotOpen", "SessionNotFound", "EventConflict",
        "NothingToResume", "StorageUnavailable", "-32602", "-32601", "-32600",
    }  # fmt: skip
    assert [each for each in failing.errors if CANARY in each or "Traceback" in each] == []
    logged = capfd.readouterr().err
    assert "DEBUG" in logged
    assert CANARY not in logged


def test_control_errors_that_quote_their_input_are_found(
    tmp_path: Path, database: Path, repository: Path
) -> None:
    guard = Guard(
        file="model/validation.py",
        code="got {JSON_NAMES.get(type(value), type(value).__name__)}",
        replacement="got {value!r}",
    )
    environment = {"PYTHONPATH": str(without(guard, tmp_path).parent)}

    def start_client(**_: str) -> Client:
        client = Client(repository, environment)
        client.initialize(rootUri=repository.as_uri())
        return client

    failing = cause_errors(start_client, database)

    assert any(CANARY in error for error in failing.errors)


def test_the_log_level_error_logs_errors_only(
    start: StartClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client = start(SEGUE_LOG="error")
    client.answer(client.send("session/unknown"))
    assert client.shutdown() == 0

    assert capfd.readouterr().err == ""


# -- sockets -----------------------------------------------------------------------------------


def sockets_of(process_id: int) -> set[str]:
    links = []
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(link))
    return {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def open_to_others(process_id: int) -> list[str]:
    """Return the sockets of a process that another process could connect or send to."""
    own = sockets_of(process_id)
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        path = Path(f"/proc/{process_id}/net/{table}")
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        found += [line for line in lines if line.split()[9] in own]
    for line in Path(f"/proc/{process_id}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        accepts, named = int(fields[3], 16) & 0x10000, len(fields) > 7
        if fields[6] in own and (accepts or named):
            found.append(line)
    return found


@needs_linux
def test_no_socket_listens_at_any_time(start: StartClient) -> None:
    client = start(SEGUE_LOG="debug")
    assert open_to_others(client.process.pid) == []
    session = open_new(client)
    for number in range(50):
        append(client, session, user_message("x"))
        assert open_to_others(client.process.pid) == [], number
    client.request("session/delete", {"sessionId": session})
    assert open_to_others(client.process.pid) == []


@needs_linux
def test_control_a_socket_that_listens_is_found() -> None:
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(1, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()

    assert len(open_to_others(process.pid)) == 1
    process.communicate(b"\n")


# -- deletion ----------------------------------------------------------------------------------


def files_with_canary(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if CANARY.encode() in each.read_bytes())


def store_canary(client: Client) -> str:
    """Store a session with the canary in every field that can hold it; return the session's id."""
    session = open_new(client)
    call = {"id": CANARY, "name": CANARY, "input": {CANARY: [CANARY] * 50}}
    for number in range(12):
        append(client, session, user_message(f"{CANARY} {'x' * 10 ** (number % 6)} {CANARY}"))
        append(client, session, {"id": f"{CANARY} {number}", "type": "tool_call", "data": call})
        append(client, session, {"type": f"x_{CANARY}", "data": {CANARY: CANARY}})
        client.request(
            "session/setMetadata", {"sessionId": session, "key": CANARY, "value": {CANARY: number}}
        )
        client.request(
            "session/setServerSessionId", {"sessionId": session, "serverSessionId": CANARY}
        )
    return session


def test_deleted_data_is_in_no_file(start: StartClient, database: Path) -> None:
    client, other = start(), start()
    kept = open_new(other)
    append(other, kept, user_message("kept"))
    session = store_canary(client)
    append(client, session, user_message(CANARY))
    assert "sessions.db-wal" in files_with_canary(database.parent)

    client.request("session/delete", {"sessionId": session})

    assert files_with_canary(database.parent) == []
    assert client.shutdown() == other.shutdown() == 0
    assert files_with_canary(database.parent) == []
    assert {each.name for each in database.parent.iterdir()} == {
        "sessions.db",
        "sessions.db-lock",
        "sessions.db-write.lock",
    }


def test_replaced_and_removed_metadata_is_deleted_with_its_session(
    start: StartClient, database: Path
) -> None:
    client = start()
    session = open_new(client)
    append(client, session, user_message("one"))
    for value in (CANARY, "other", f"{CANARY} again", None):
        params = {"sessionId": session, "key": "key", "value": value}
        client.request("session/setMetadata", params)
    client.request("session/delete", {"sessionId": session})

    assert files_with_canary(database.parent) == []


@contextlib.contextmanager
def snapshot(database: Path) -> Iterator[None]:
    """Hold a read snapshot of the database inside the block."""
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM events").fetchone()
        yield
        db.execute("ROLLBACK")


def test_data_that_a_snapshot_needs_is_deleted_once_the_snapshot_is_gone(
    start: StartClient, database: Path
) -> None:
    """The log that a snapshot reads cannot be emptied: the next commit completes the deletion."""
    client = start()
    session = store_canary(client)
    with snapshot(database):
        began = time.monotonic()
        client.request("session/delete", {"sessionId": session})
        assert time.monotonic() - began < driver.BUSY_TIMEOUT_S + 5
        assert files_with_canary(database.parent) != [], "the snapshot needs it"
    append(client, open_new(client), user_message("another session"))

    assert files_with_canary(database.parent) == []


def test_what_one_window_deletes_another_erases_from_the_log(
    start: StartClient, database: Path
) -> None:
    deleting, other = start(), start()
    session, kept = store_canary(deleting), open_new(other)
    with snapshot(database):
        deleting.request("session/delete", {"sessionId": session})
    deleting.kill()
    assert files_with_canary(database.parent) != []

    append(other, kept, user_message("one"))

    assert files_with_canary(database.parent) == []


@pytest.mark.parametrize("value", ["other", None], ids=["replaced", "removed"])
def test_old_metadata_is_in_no_file(start: StartClient, database: Path, value: object) -> None:
    client, other = start(), start()
    session, key = open_new(client), {"key": "key"}
    append(client, session, user_message("one"))
    append(other, open_new(other), user_message("one"))  # it keeps the log open
    client.request("session/setMetadata", {"sessionId": session, "value": CANARY} | key)

    client.request("session/setMetadata", {"sessionId": session, "value": value} | key)

    assert files_with_canary(database.parent) == []


@pytest.mark.parametrize(
    "guard",
    [
        Guard(
            file="store/sqlite/driver.py",
            code='    "PRAGMA secure_delete = ON",\n',
            replacement='    "PRAGMA secure_delete = OFF",\n',
        ),
        Guard(
            file="store/sqlite/commit.py",
            code="                if driver.checkpoint_truncate(db):\n",
            replacement="                if False:\n",
        ),
    ],
    ids=["secure_delete", "checkpoint"],
)
def test_control_deleted_data_is_found_without_its_guard(
    guard: Guard, tmp_path: Path, database: Path, start: StartClient
) -> None:
    package = without(guard, tmp_path)
    client = start(PYTHONPATH=str(package.parent))
    session = store_canary(client)
    client.request("session/delete", {"sessionId": session})

    assert files_with_canary(database.parent) != []
