"""What other users, a cloned repository and stored text can do: nothing. What deleting does."""

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
from tests.faults.sandbox import open_new, said

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


# -- who may read it ---------------------------------------------------------------------------


class Sampler(threading.Thread):
    """Looks at the modes of a folder and its files, again and again, until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.seen: dict[str, set[int]] = {}
        self.looks = 0
        self._folder = folder
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.0005):
            self.looks += 1
            self._look(self._folder)
            with contextlib.suppress(FileNotFoundError):
                for path in self._folder.iterdir():
                    self._look(path)

    def _look(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.seen.setdefault(path.name, set()).add(stat.S_IMODE(path.lstat().st_mode))

    def end(self) -> dict[str, set[int]]:
        self._ended.set()
        self.join()
        return self.seen


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
    sampler = Sampler(database.parent)
    sampler.start()
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-c", WRITER, umask], env=environment, check=True, timeout=60)
    seen = sampler.end()
    assert sampler.looks > 50
    return seen


FILES = {f"sessions.db{suffix}" for suffix in ("", "-wal", "-shm", "-lock", "-turn")}


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_nobody_else_can_read_it_at_any_moment(umask: str, database: Path) -> None:
    seen = modes_while_writing(umask, database, PACKAGE)

    assert seen.keys() >= FILES
    assert seen.pop("data") == {0o700}
    assert {name: modes for name, modes in seen.items() if modes != {0o600}} == {}


def test_control_without_its_making_by_hand_others_can_read_it(
    database: Path, tmp_path: Path
) -> None:
    guard = Guard(
        file="storage/database.py", code="            _make_private(self._where)\n", instead=""
    )
    seen = modes_while_writing("000", database, without(guard, tmp_path))

    assert seen["sessions.db"] != {0o600}


# -- a hostile repository ----------------------------------------------------------------------

TRAP = "import pathlib; pathlib.Path({!r}).write_text('sprung')\n"


def link_elsewhere(repository: Path, outside: Path) -> None:
    (repository / ".git").symlink_to(outside)


def fifo(repository: Path, outside: Path) -> None:
    os.mkfifo(repository / ".git")


def vast(repository: Path, outside: Path) -> None:
    with (repository / ".git").open("wb") as file:
        file.truncate(1 << 30)


def loop(repository: Path, outside: Path) -> None:
    (repository / ".git").symlink_to(repository / "git")
    (repository / "git").symlink_to(repository / ".git")


def unreadable(repository: Path, outside: Path) -> None:
    (repository / ".git").write_text("gitdir: ../x")
    (repository / ".git").chmod(0)


def points_outside(repository: Path, outside: Path) -> None:
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def points_to_fifo(repository: Path, outside: Path) -> None:
    os.mkfifo(outside / "commondir")
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def points_to_device(repository: Path, outside: Path) -> None:
    (outside / "commondir").symlink_to("/dev/zero")
    (repository / ".git").write_text(f"gitdir: {outside}\n")


def garbage(repository: Path, outside: Path) -> None:
    (repository / ".git").write_bytes(b"gitdir: \x00\xff\n" * 1_000)


HOSTILE = [
    link_elsewhere, fifo, vast, loop, unreadable, points_outside, points_to_fifo, points_to_device,
    garbage,
]  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a workspace full of files that would do harm if they were read or run."""
    workspace = tmp_path / "cloned"
    trap = TRAP.format(str(tmp_path / "sprung"))
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
    for name, text in files.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text)
    return workspace


SEGUE = [str(Path(sys.executable).with_name("segue")), "lsp"]
"""As an editor starts it: `python -m segue` would import from the folder that it runs in."""


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_git_is_neither_followed_nor_waited_for(
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
    assert append(client, opened["session"]["sessionId"], said("one"))["eventCount"] == 1
    assert list(outside.iterdir()) in ([], [outside / "commondir"])


def test_nothing_in_the_workspace_is_read_or_run(
    hostile: Path, tmp_path: Path, database: Path
) -> None:
    client = Client(hostile, command=SEGUE)
    client.initialize(rootUri=hostile.as_uri())
    append(client, open_new(client), said("one"))
    assert client.shutdown() == 0
    listed = subprocess.run(
        [SEGUE[0], "list", "--json"], cwd=hostile, capture_output=True, check=True, timeout=60
    )

    assert len(json.loads(listed.stdout)["sessions"]) == 1
    assert database.exists()
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "elsewhere.db").exists()


def test_control_a_git_file_without_a_limit_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 1 GB `.git` costs nothing because only its beginning is read."""
    from segue.model import workspace

    vast(tmp_path, tmp_path)
    began = time.monotonic()
    locate_workspace(str(tmp_path))
    guarded = time.monotonic() - began
    monkeypatch.setattr(workspace, "_LONGEST_GIT_FILE", 1 << 26)
    began = time.monotonic()
    locate_workspace(str(tmp_path))

    assert time.monotonic() - began > 5 * guarded


# -- stored text on a terminal -----------------------------------------------------------------


def payloads() -> list[str]:
    """Return some two hundred texts that would steer a terminal that is sent them."""
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


def steering(output: bytes) -> list[str]:
    """Return what in a command's output could steer a terminal."""
    text = output.decode("utf-8", "replace")
    return re.findall(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
        "\ufff9-\ufffb\U000e0000-\U000e007f\xad]",
        text,
    )


def placements(payload: str) -> list[Json]:
    """Return *payload* wherever the command line shows what events say; in pieces, too."""
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
def poisoned(start: StartClient, tmp_path: Path) -> list[str]:
    """Return the ids of sessions that hold every payload everywhere, in steering folders too."""
    folder = tmp_path / "a\x1b]52;c;ZXZpbA==\x07\u202eb\rc\nd"
    folder.mkdir()
    client = start()
    ids = []
    for number, payload in enumerate(payloads()):
        where = {"workspace": str(folder)} if number % 10 == 0 else {}
        session = client.request("session/open", {"mode": "new"} | where)["session"]["sessionId"]
        append(client, session, *placements(payload))
        ids.append(session)
    assert client.shutdown() == 0
    return ids


SHOW_ALL = """
import sys
from segue.cli import segue, Composition
from segue.__main__ import open_service, serve
for id in sys.argv[1:]:
    composition = Composition(serve=serve, open_service=open_service)
    segue(["show", id], obj=composition, standalone_mode=False)
"""


def shown(ids: list[str], package: Path = PACKAGE) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, *ids],
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def test_no_stored_text_steers_a_terminal(
    poisoned: list[str], tmp_path: Path, database: Path
) -> None:
    assert len(poisoned) > 190
    told = shown(poisoned)
    assert told.count(b"\n") > 6 * len(poisoned)
    assert steering(told) == []
    for command in (["list"], ["list", "--limit", "1000", "--archived"], ["list", "--json"]):
        listed = run_segue(*command)
        assert listed.returncode == 0
        assert steering(listed.stdout + listed.stderr) == []
    place = tmp_path / "d\x1b[2J\u202e" / "sessions.db"
    place.parent.mkdir()
    database.rename(place)
    for name in ("doctor", "list"):
        looked = run_segue(name, SEGUE_DATABASE=str(place))
        assert steering(looked.stdout + looked.stderr) == []
    place.write_bytes(b"\x1b]52;c;ZXZpbA==\x07" * 100)
    for name in ("doctor", "list"):
        looked = run_segue(name, SEGUE_DATABASE=str(place))
        assert looked.returncode == 1
        assert steering(looked.stdout + looked.stderr) == []


def test_control_without_the_spelling_out_stored_text_steers(
    poisoned: list[str], tmp_path: Path
) -> None:
    guard = Guard(
        file="cli/printing.py",
        code="    category = unicodedata.category(char)\n",
        # What has no UTF-8 can be shown in no way, and would end the command.
        instead="    return '\\ud800' <= char <= '\\udfff'\n"
        "    category = unicodedata.category(char)\n",
    )
    assert {"\x1b", "\x9b", "\u202e", "\r", "\b"} <= set(
        steering(shown(poisoned, without(guard, tmp_path)))
    )


# -- what is said in errors and logs -----------------------------------------------------------


class Talk:
    """A client that provokes errors of every kind, and what it was answered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.kinds: set[str] = set()
        self.answers: list[str] = []

    def ask(self, method: str, params: Json) -> None:
        answer = self.client.answer(self.client.send(method, params))
        error = answer.get("error")
        assert error is not None, (method, params)
        self.kinds.add((error.get("data") or {}).get("kind") or str(error["code"]))
        self.answers.append(json.dumps(error))


def provoke(start: StartClient, database: Path) -> Talk:
    """Make every kind of error that a client can, each with a canary in what it says."""
    talk, other = Talk(start(SEGUE_LOG="debug")), start(SEGUE_LOG="debug")
    canary = said(CANARY, "1")
    session = open_new(talk.client)
    here: Json = {"sessionId": session}
    talk.ask("session/append", here | {"parentId": CANARY, "events": [canary]})
    append(talk.client, session, canary)
    other.request("session/open", here)
    append(other, session, said(f"{CANARY} elsewhere"))
    talk.ask("session/append", here | {"events": [said(f"{CANARY} late")]})
    talk.ask("session/append", here | {"events": [said(f"{CANARY} other", "1")]})
    talk.ask("session/append", here | {"events": [{"type": "text", "data": {"content": [CANARY]}}]})
    talk.ask("session/append", here | {"events": [{"type": "x", "data": {CANARY: float("nan")}}]})
    talk.ask("session/append", {"sessionId": CANARY[:6], "events": [canary]})
    talk.ask("session/events", {"sessionId": "none"})
    talk.ask("session/setMetadata", here | {"key": "k", "value": [CANARY, float("inf")]})
    talk.ask("session/unknown", {"text": CANARY})
    talk.ask("initialize", {"clientInfo": CANARY})
    talk.ask("session/open", {"mode": "resume", "continueMinutes": 0})
    talk.client.request("session/archive", here)
    talk.ask("session/append", here | {"parentId": None, "events": [said(CANARY, "new")]})
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON events WHEN NEW.data LIKE '%canary%' "
            "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        talk.ask("session/append", {"sessionId": open_new(talk.client), "events": [said(CANARY)]})
        db.execute("DROP TRIGGER broken")
    for body in (b'{"%b', b'["%b"]', b'{"id":null,"%b":1}', b'\xff"%b"'):
        frame = body % CANARY.encode()
        talk.client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(frame), frame))
        talk.answers.append(json.dumps(talk.client.answer(None)))
    talk.client.write_bytes(f"X-Canary {CANARY}\r\n\r\n".encode())
    talk.answers.append(json.dumps(talk.client.answer(None)))
    talk.client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": CANARY}})
    for client in (talk.client, other):
        assert client.shutdown() == 0
    return talk


def test_no_error_and_no_log_line_tells_what_was_said(
    start: StartClient, database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    talk = provoke(start, database)

    assert talk.kinds >= {
        "HeadMoved", "SessionNotOpen", "SessionNotFound", "EventConflict", "SessionArchived",
        "NothingToResume", "StorageUnavailable", "-32602", "-32601", "-32600",
    }  # fmt: skip
    assert [answer for answer in talk.answers if CANARY in answer or "Traceback" in answer] == []
    logged = capfd.readouterr().err
    assert "DEBUG" in logged, "it said much"
    assert CANARY not in logged


def test_control_errors_that_repeat_what_they_were_given_are_found(
    tmp_path: Path, database: Path, repository: Path
) -> None:
    guard = Guard(
        file="strict.py",
        code="got {JSON_NAMES.get(type(value), type(value).__name__)}",
        instead="got {value!r}",
    )
    environment = {"PYTHONPATH": str(without(guard, tmp_path).parent)}

    def start_client(**_: str) -> Client:
        client = Client(repository, environment)
        client.initialize(rootUri=repository.as_uri())
        return client

    talk = provoke(start_client, database)

    assert any(CANARY in answer for answer in talk.answers)


def test_who_asks_for_errors_only_is_told_errors_only(
    start: StartClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client = start(SEGUE_LOG="error")
    client.answer(client.send("session/unknown"))
    assert client.shutdown() == 0

    assert capfd.readouterr().err == ""


# -- no socket ---------------------------------------------------------------------------------


def sockets_of(process_id: int) -> set[str]:
    links = []
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(link))
    return {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def listening(process_id: int) -> list[str]:
    """Return the sockets of a process that somebody could connect, or send, to."""
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
    assert listening(client.process.pid) == []
    session = open_new(client)
    for number in range(50):
        append(client, session, said("x"))
        assert listening(client.process.pid) == [], number
    client.request("session/delete", {"sessionId": session})
    assert listening(client.process.pid) == []


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

    assert len(listening(process.pid)) == 1
    process.communicate(b"\n")


# -- what is deleted ---------------------------------------------------------------------------


def holding(folder: Path) -> list[str]:
    """Return the names of the files that still hold the canary."""
    return sorted(each.name for each in folder.iterdir() if CANARY.encode() in each.read_bytes())


def confide(client: Client) -> str:
    """Store the canary in every place of a session that text can be in; return the session."""
    session = open_new(client)
    call = {"id": CANARY, "name": CANARY, "input": {CANARY: [CANARY] * 50}}
    for number in range(12):
        append(client, session, said(f"{CANARY} {'x' * 10 ** (number % 6)} {CANARY}"))
        append(client, session, {"id": f"{CANARY} {number}", "type": "tool_call", "data": call})
        append(client, session, {"type": f"x_{CANARY}", "data": {CANARY: CANARY}})
        client.request(
            "session/setMetadata", {"sessionId": session, "key": CANARY, "value": {CANARY: number}}
        )
        client.request(
            "session/setServerSessionId", {"sessionId": session, "serverSessionId": CANARY}
        )
    return session


def test_what_is_deleted_is_in_no_file(start: StartClient, database: Path) -> None:
    client, other = start(), start()
    kept = open_new(other)
    append(other, kept, said("kept"))
    session = confide(client)
    assert "sessions.db-wal" in holding(database.parent)

    client.request("session/delete", {"sessionId": session})

    assert holding(database.parent) == []
    assert client.shutdown() == other.shutdown() == 0
    assert holding(database.parent) == []
    assert {each.name for each in database.parent.iterdir()} == {
        "sessions.db",
        "sessions.db-lock",
        "sessions.db-turn",
    }


def test_metadata_that_is_replaced_or_removed_goes_with_its_session(
    start: StartClient, database: Path
) -> None:
    client = start()
    session = open_new(client)
    append(client, session, said("one"))
    for value in (CANARY, "other", f"{CANARY} again", None):
        params = {"sessionId": session, "key": "key", "value": value}
        client.request("session/setMetadata", params)
    client.request("session/delete", {"sessionId": session})

    assert holding(database.parent) == []


@contextlib.contextmanager
def snapshot(database: Path) -> Iterator[None]:
    """Be a reader in the middle of a long look at what was there before."""
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM events").fetchone()
        yield
        db.execute("ROLLBACK")


def test_while_a_reader_looks_on_it_is_kept_for_him_and_goes_with_the_next_deletion(
    start: StartClient, database: Path
) -> None:
    """What a snapshot still needs cannot be taken from under it: the deletion is done, late."""
    client = start()
    session = confide(client)
    with snapshot(database):
        began = time.monotonic()
        client.request("session/delete", {"sessionId": session})
        assert time.monotonic() - began < driver.BUSY_TIMEOUT_S + 5
        assert holding(database.parent) != [], "the reader's snapshot is made of it"
    client.request("session/delete", {"sessionId": session})

    assert holding(database.parent) == []


@pytest.mark.parametrize(
    "guard",
    [
        Guard(
            file="storage/library.py",
            code='            "PRAGMA secure_delete = ON",\n',
            instead='            "PRAGMA secure_delete = OFF",\n',
        ),
        Guard(
            file="storage/local.py",
            code="        await self._database.checkpoint_truncate()\n",
            instead="",
        ),
    ],
    ids=["secure_delete", "checkpoint"],
)
def test_control_without_its_guard_what_is_deleted_is_still_there(
    guard: Guard, tmp_path: Path, database: Path, start: StartClient
) -> None:
    package = without(guard, tmp_path)
    client = start(PYTHONPATH=str(package.parent))
    session = confide(client)
    client.request("session/delete", {"sessionId": session})

    assert holding(database.parent) != []
