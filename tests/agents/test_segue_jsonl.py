"""Segue's own JSON lines: an export that is imported is the session that it was."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from segue.agents import segue_jsonl
from segue.agents.transcript import milliseconds
from segue.cli.client import Client
from segue.model.records import iso
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient
from tests.exporting.conversations import ORDINARY, hostile

SECRET = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


def speak(repository: Path, session_id: str | None, events: list[Any], **name: str) -> str:
    """Append events to a session, or a new one, in an editor of that name, and return its id."""
    client = Client(repository)
    client.initialize(rootUri=repository.as_uri(), clientInfo=name or None)
    params = {"mode": "new"} if session_id is None else {"sessionId": session_id}
    opened = str(client.request("session/open", params)["session"]["sessionId"])
    sent = [{"type": t[:100] or "none", "data": d} for t, d in events if isinstance(d, dict)]
    origin = {"agent": "claude-code", "model": "opus"} if name else {}
    client.request("session/append", {"sessionId": opened, "events": sent} | origin)
    client.request(
        "session/setServerSessionId", {"sessionId": opened, "serverSessionId": "remote-1"}
    )
    client.shutdown()
    return opened


@pytest.fixture
def recorded(repository: Path) -> str:
    """Store a session of two windows and return its id."""
    session_id = speak(repository, None, ORDINARY, name="Neovim", version="0.11.4")
    return speak(repository, session_id, [e for e in hostile() if e[0].isprintable()][:300])


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of another store, which is used from then on by what is told to."""
    return tmp_path / "other" / "sessions.db"


def export(session_id: str, path: Path) -> Path:
    """Export a session as JSON lines and return the file."""
    done = run("export", session_id, "--format", "jsonl", "--force", "-o", str(path))
    assert done.returncode == 0, done.stderr
    return path


def imported(path: Path, database: Path, *options: str) -> dict[str, Any]:
    """Import a file into another store and return the report."""
    done = run("--database", str(database), "import", str(path), "--json", *options)
    (report,) = json.loads(done.stdout)
    assert report["source"] == "segue"
    assert done.returncode == (1 if report["broken"] else 0), done.stderr
    return dict(report)


def shown(session_id: str, *database: str) -> dict[str, Any]:
    """Return what `segue show --json` prints."""
    return dict(as_json(*database, "show", session_id))


def test_the_import_of_an_export_is_the_session_that_it_was(
    recorded: str, other: Path, tmp_path: Path
) -> None:
    path = export(recorded, tmp_path / "export.jsonl")
    report = imported(path, other)
    assert (report["new"], report["skipped"], report["broken"]) == (1, {}, [])
    assert report["events"] > 250
    before = shown(recorded)
    assert shown(recorded, "--database", str(other)) == before
    assert len(before["invocations"]) == 2
    again = run("--database", str(other), "export", recorded, "--format", "jsonl").stdout
    assert again == path.read_text()


def test_twice_is_once(recorded: str, other: Path, tmp_path: Path) -> None:
    path = export(recorded, tmp_path / "export.jsonl")
    imported(path, other)
    before = shown(recorded, "--database", str(other))
    report = imported(path, other)
    assert (report["new"], report["grown"], report["unchanged"], report["events"]) == (0, 0, 1, 0)
    assert shown(recorded, "--database", str(other)) == before
    # Where it was recorded, it is there already.
    done = run("import", str(path), "--json")
    assert json.loads(done.stdout)[0]["events"] == 0
    assert shown(recorded) == before


def test_growing_exports_are_the_same_as_the_last_one(
    repository: Path, other: Path, tmp_path: Path
) -> None:
    session_id = speak(repository, None, ORDINARY, name="Neovim")
    imported(export(session_id, tmp_path / "export.jsonl"), other)
    speak(repository, session_id, ORDINARY)
    lines = export(session_id, tmp_path / "export.jsonl").read_text().splitlines(keepends=True)
    for length in range(1, len(lines), 11):
        (tmp_path / "prefix.jsonl").write_text("".join(lines[:length]))
        assert imported(tmp_path / "prefix.jsonl", other)["forks"] == 0
    assert imported(tmp_path / "export.jsonl", other)["forks"] == 0
    known = shown(session_id, "--database", str(other))
    assert known["events"] == shown(session_id)["events"]
    assert known["invocations"] == shown(session_id)["invocations"]
    assert known["session"] == shown(session_id)["session"]


def test_a_session_that_went_on_in_both_places_becomes_a_fork(
    repository: Path, other: Path, tmp_path: Path
) -> None:
    session_id = speak(repository, None, [("user_message", {"content": "a"})])
    imported(export(session_id, tmp_path / "1.jsonl"), other)
    environment = os.environ["SEGUE_DATABASE"]
    os.environ["SEGUE_DATABASE"] = str(other)
    try:
        speak(repository, session_id, [("user_message", {"content": "there"})])
    finally:
        os.environ["SEGUE_DATABASE"] = environment
    speak(repository, session_id, [("user_message", {"content": "here"})])
    report = imported(export(session_id, tmp_path / "2.jsonl"), other)
    assert report["forks"] == 1
    assert imported(tmp_path / "2.jsonl", other)["events"] == 0
    sessions = as_json("--database", str(other), "list", "--all", "--archived")["sessions"]
    contents = sorted(
        [e["data"]["content"] for e in shown(s["sessionId"], "--database", str(other))["events"]
         if e["type"] == "user_message"]
        for s in sessions
    )  # fmt: skip
    assert contents == [["a", "here"], ["a", "there"]]


def test_titles_times_archive_and_forks_come_along(
    repository: Path, other: Path, tmp_path: Path, start: StartClient
) -> None:
    original = speak(repository, None, ORDINARY, name="Neovim")
    title = 150 * "long "[:1] + " title"
    fork = run("fork", original, "--at", "4", "--title", title).stdout.split(" ")[0]
    run("archive", fork)
    report = imported(export(fork, tmp_path / "fork.jsonl"), other)
    assert report["new"] == 1
    before, after = shown(fork), shown(fork, "--database", str(other))
    assert after["events"] == before["events"]
    # A fork comes in as a session of its own, with the prompts that it shared.
    prompts = [e["createdAt"] for e in before["events"] if e["type"] == "user_message"]
    own = {"forkedFrom": None, "forkedAt": None, "lastPromptAt": prompts[-1]}
    assert after["session"] == before["session"] | own
    assert after["session"]["title"] == title
    assert after["session"]["archivedAt"] is not None


def test_it_is_not_resumed_until_it_is_continued(
    recorded: str, other: Path, tmp_path: Path, repository: Path
) -> None:
    imported(export(recorded, tmp_path / "export.jsonl"), other)
    client = Client(repository, {"SEGUE_DATABASE": str(other)})
    client.initialize(rootUri=repository.as_uri())
    assert client.request("session/findResumable")["session"] is None
    client.shutdown()


def test_several_exports_in_one_file_are_several_sessions(
    repository: Path, other: Path, tmp_path: Path
) -> None:
    ids = [speak(repository, None, ORDINARY), speak(repository, None, ORDINARY[:3])]
    files = [export(each, tmp_path / each) for each in ids]
    path = tmp_path / "both.jsonl"
    path.write_text("".join(each.read_text() for each in files))
    assert imported(path, other)["new"] == 2
    for each in ids:
        assert shown(each, "--database", str(other)) == shown(each)


def test_secrets_are_masked_on_the_way_in(other: Path, tmp_path: Path, repository: Path) -> None:
    id = speak(repository, None, [("user_message", {"content": "use KEY"})])
    path = export(id, tmp_path / "export.jsonl")
    path.write_text(path.read_text().replace("KEY", SECRET))
    imported(path, other)
    text = json.dumps(shown(id, "--database", str(other)))
    assert SECRET not in text
    assert text.count("redacted:github-token") >= 2  # the title too
    assert imported(path, other)["events"] == 0


def test_a_session_of_another_program_keeps_its_source(other: Path, tmp_path: Path) -> None:
    began, ended = "2026-01-02T03:04:05.678Z", "2026-01-03T03:04:05.679Z"
    session = {"sessionId": "s", "directory": "/gone", "source": "claude-code", "title": "T"}
    session |= {"createdAt": began, "updatedAt": ended}
    event = EVENT | {"createdAt": began}
    path = tmp_path / "x.jsonl"
    path.write_bytes(line({"segue": 1, "session": session}) + line(event))
    assert imported(path, other)["new"] == 1
    known = shown("s", "--database", str(other))
    assert known["session"]["source"] == "claude-code"
    assert known["session"]["createdAt"] == session["createdAt"]
    assert known["session"]["updatedAt"] == session["updatedAt"]
    assert known["events"][0]["createdAt"] == event["createdAt"]
    assert known["events"][0]["invocationId"] == "import"


HEADER = {"segue": 1, "session": {"sessionId": "s", "directory": "/d"}}
EVENT = {"id": "e1", "type": "text", "data": {"content": "x"}}


def line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "broken", "events"),
    [
        (line({"segue": 2, "session": {}}), "line 1: exported by a later version of Segue", 0),
        (line({"segue": "1", "session": {}}), "line 1: not an export of Segue", 0),
        (line({"segue": 1, "session": []}), "line 1: not an export of Segue", 0),
        (line({"segue": 1, "session": {}}), "line 1: a session without an id or a directory", 0),
        (line({"segue": 1, "session": {"sessionId": "\ud83d", "directory": "/"}}),
         "line 1: a session without an id or a directory", 0),
        (line({"segue": 1, "session": {"sessionId": "s", "directory": 5}}),
         "line 1: a session without an id or a directory", 0),
        (line(HEADER) + b'{"id": "torn', None, 0),
        (line(HEADER) + line(EVENT)[:-1], None, 1),
        (line(HEADER) + b"\0\0\n" + line(EVENT), "line 2: not JSON", 1),
        (line(HEADER) + b"[1]\n" + line(EVENT), "line 2: not a JSON object", 1),
        (line(HEADER) + b'{"segue' + line(EVENT), "line 2: not JSON", 0),
        (line(HEADER) + line({"id": 1}) + line(EVENT), "line 2: not an event", 1),
        (line(HEADER) + line(EVENT | {"data": "raw"}), "line 2: not an event", 0),
        (line(HEADER) + line(EVENT | {"data": "raw", "corrupt": True}) + line(EVENT), None, 1),
        (line(HEADER) + line(EVENT | {"data": {"content": 5}}), None, 0),
        (line(HEADER) + line(EVENT | {"id": 200 * "x"}), None, 0),
        (line(HEADER) + line(EVENT | {"createdAt": [], "invocationId": 5}), None, 1),
        (line(HEADER) + line({"invocation": {"id": "i", "clientName": "a\nb"}})
         + line(EVENT | {"invocationId": "i"}), None, 1),
        (line(HEADER) + line({"invocation": 5}) + line(EVENT), "line 2: not an event", 1),
        (b"\xef\xbb\xbf" + line(HEADER).replace(b"\n", b"\r\n") + line(EVENT), None, 1),
        (line(HEADER) + line(EVENT | {"data": {"content": "\ud83d\0"}}), None, 1),
        (line(HEADER) + line(EVENT) + line(EVENT), None, 1),
        (line(HEADER | {"session": HEADER["session"] | {  # type: ignore[operator]  # of any type
            "title": "a\nb", "createdAt": "9999-12-31T00:00:00Z", "updatedAt": {}, "archivedAt": -1,
            "source": 5, "client": [], "gitRoot": 7, "serverSessionId": 2_000 * "x",
        }}) + line(EVENT), None, 1),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_the_rest_is_imported(
    other: Path, tmp_path: Path, content: bytes, broken: str | None, events: int
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    report = imported(path, other)
    assert report["broken"] == ([] if broken is None else [f"{path}, {broken}"])
    assert report["events"] == events


def test_what_is_no_export_is_not_taken_for_one(tmp_path: Path) -> None:
    fifo, link, folder = tmp_path / "f.jsonl", tmp_path / "l.jsonl", tmp_path / "d.jsonl"
    os.mkfifo(fifo)
    link.symlink_to(tmp_path / "nowhere")
    folder.mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "else").write_text('{"type": "user"}\n')
    for path in tmp_path.iterdir():
        assert not segue_jsonl.accepts(path)
    assert not list(segue_jsonl.find(None))  # type: ignore[arg-type]  # it looks nowhere
    done = run("import", str(tmp_path / "else"))
    assert done.returncode == 1
    assert "is not a conversation of a known program" in done.stderr


def test_times_are_read_to_the_millisecond() -> None:
    times = [*range(1_000, 2_000), 1_089_800_776_666, *range(1_785_585_600_000, 1_785_585_600_100)]
    assert [milliseconds(iso(time)) for time in times] == times
