"""`segue hook AGENT` as an agent runs it: a process for each event, with JSON on its input."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.agents import samples
from tests.agents.claude_transcripts import Transcript
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient

COMMAND = [sys.executable, "-m", "segue", "hook", "claude-code"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.delenv("SEGUE_ACP", raising=False)
    return path


@pytest.fixture
def transcript(home: Path, repository: Path) -> Transcript:
    return Transcript(home, repository)


def hook(said: Any, *, agent: str = "claude-code", **environment: str) -> float:
    """Run a hook, which must end silently with 0; return how long it took."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    begun = time.monotonic()
    ended = subprocess.run(
        [*COMMAND[:-1], agent],
        input=text,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    return time.monotonic() - begun


def events(session_id: str) -> list[tuple[str, str]]:
    shown = as_json("show", session_id)
    return [(each["type"], each["data"]["content"]) for each in shown["events"]]


def log(database: Path) -> str:
    return (database.parent / "hook.log").read_text(encoding="ascii")


def test_a_prompt_is_stored_before_the_answer_and_once(transcript: Transcript) -> None:
    asked = transcript.call("UserPromptSubmit", prompt="hello", prompt_id="p1")
    hook(asked)
    assert events(transcript.id) == [("user_message", "hello")]

    hook(asked)
    transcript.prompt("hello", "p1")
    transcript.answer("hi")
    hook(transcript.call("Stop"))
    hook(transcript.call("SessionEnd"))

    assert events(transcript.id) == [("user_message", "hello"), ("text", "hi")]
    assert as_json("import", "claude-code")[0]["events"] == 0
    os.utime(transcript.path)  # so that it is read again
    shutil.copy(transcript.path, transcript.path.with_suffix(".copy"))
    os.replace(transcript.path.with_suffix(".copy"), transcript.path)  # from its beginning
    assert as_json("import", "claude-code")[0]["events"] == 0


def test_a_turn_that_was_killed_is_completed_by_the_next_prompt(transcript: Transcript) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="one", prompt_id="p1"))
    transcript.prompt("one", "p1")
    transcript.answer("half")

    hook(transcript.call("UserPromptSubmit", prompt="two", prompt_id="p2"))
    transcript.prompt("two", "p2")
    transcript.answer("whole")
    hook(transcript.call("Stop"))

    assert [content for _, content in events(transcript.id)] == ["one", "half", "two", "whole"]


def test_the_session_has_the_agents_id_and_workspace_and_is_not_resumed_by_itself(
    transcript: Transcript, repository: Path, start: StartClient
) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="hello", prompt_id="p1"))
    transcript.prompt("hello", "p1")
    transcript.answer("hi")
    hook(transcript.call("Stop"))

    session = as_json("list", "--all")["sessions"][0]
    assert session["sessionId"] == transcript.id
    assert (session["gitRoot"], session["source"]) == (str(repository), "claude-code")
    assert session["title"] == "hello"

    client = start()
    assert client.request("session/open")["resumed"] is False
    opened = client.request("session/open", {"sessionId": transcript.id, "mode": "resume"})
    said = {"type": "user_message", "data": {"content": "here"}, "id": "here"}
    appended = {"parentId": opened["session"]["head"], "events": [said]}
    client.request("session/append", {"sessionId": transcript.id, **appended})
    assert start().request("session/open")["session"]["sessionId"] == transcript.id


def codex_file() -> samples.Sample:
    reply = samples.message("assistant", "hi")
    return samples.codex(samples.meta(), samples.message("user", "hello"),
                         samples.heard("hello"), reply)  # fmt: skip


def copilot_file() -> samples.Sample:
    return samples.copilot_cli(
        *samples.events(
            ("session.start", {"sessionId": samples.ONE, "context": {"cwd": "/p"}}),
            ("user.message", {"content": "hello"}),
            ("assistant.message", {"messageId": "m", "content": "hi"}),
        )
    )


def gemini_file() -> samples.Sample:
    time = samples.TIME.format(1)
    return samples.Sample(
        "gemini-cli",
        ".gemini/tmp/p/chats/session-1.jsonl",
        [
            {"sessionId": samples.ONE, "projectHash": "h", "startTime": time, "kind": "main"},
            {"id": "u", "timestamp": time, "type": "user", "content": [{"text": "hello"}]},
            {"id": "a", "timestamp": time, "type": "gemini", "content": "hi", "model": "g"},
        ],
    )


@pytest.mark.parametrize(
    ("agent", "asked", "ended", "sample"),
    [
        ("codex", "UserPromptSubmit", "Stop", codex_file()),
        ("copilot", "UserPromptSubmit", "Stop", copilot_file()),
        ("gemini", "BeforeAgent", "AfterAgent", gemini_file()),
    ],
)
def test_every_agent_is_recorded_once(
    home: Path, agent: str, asked: str, ended: str, sample: samples.Sample
) -> None:
    for name in ("CODEX_HOME", "COPILOT_HOME", "GEMINI_CLI_HOME"):
        os.environ.pop(name, None)
    call = {"session_id": samples.ONE, "cwd": "/p", "timestamp": samples.TIME.format(0)}
    hook({**call, "hook_event_name": asked, "prompt": "hello"}, agent=agent)
    path = sample.write(home)

    hook({**call, "hook_event_name": ended, "transcript_path": str(path)}, agent=agent)
    hook({**call, "hook_event_name": "SessionEnd"}, agent=agent)

    session = as_json("list", "--all")["sessions"][0]
    assert (session["sessionId"], session["source"]) == (samples.ONE, sample.source)
    said = [each for each in events(samples.ONE) if each[0] != "system_context"]
    assert said == [("user_message", "hello"), ("text", "hi")]
    assert as_json("import", sample.source)[0]["events"] == 0


def with_an_attachment(source: str) -> samples.Sample:
    log = samples.events(
        ("session.start", {"sessionId": samples.ONE, "context": {"cwd": "/p"}}),
        (
            "user.message",
            {"content": "look", "attachments": [{"type": "file", "path": "/p/a.png"}]},
        ),
        ("assistant.message", {"messageId": "m", "content": "A cat."}),
    )
    if source == "copilot":
        return samples.copilot_cli(*log)
    if source == "codex":
        image = {"type": "local_image", "path": "/p/a.png"}
        return samples.codex(
            samples.meta(history_mode="paginated"),
            samples.message("user", "look", '<image path="/p/a.png">'),
            samples.completed({"type": "text", "text": "look"}, image),
            samples.message("assistant", "A cat."),
        )
    sample = gemini_file()
    media = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    sample.records[1]["content"] = [{"text": "look"}, media]
    sample.records[2]["content"] = "A cat."
    return sample


@pytest.mark.parametrize(
    ("agent", "named"),
    [("codex", "[image /p/a.png]"), ("copilot", "[file /p/a.png]"), ("gemini", "[image/png]")],
)
def test_a_prompt_with_an_attachment_is_stored_once_and_the_attachment_named(
    home: Path, agent: str, named: str
) -> None:
    asked = "BeforeAgent" if agent == "gemini" else "UserPromptSubmit"
    call = {"session_id": samples.ONE, "cwd": "/p", "timestamp": samples.TIME.format(0)}
    if agent == "codex":
        call = {"session_id": samples.ONE, "cwd": "/p", "turn_id": "t"}
    hook({**call, "hook_event_name": asked, "prompt": "look"}, agent=agent)
    path = with_an_attachment(agent).write(home)

    hook({**call, "hook_event_name": "SessionEnd", "transcript_path": str(path)}, agent=agent)

    said = [("user_message", "look"), ("user_message", named), ("text", "A cat.")]
    assert events(samples.ONE) == said


def test_words_that_a_person_adds_to_a_turn_of_codex_are_stored_at_once_and_once(
    home: Path,
) -> None:
    call = {"session_id": samples.ONE, "cwd": "/p", "turn_id": "t"}
    for prompt in ("one", "two", "two"):
        hook({**call, "hook_event_name": "UserPromptSubmit", "prompt": prompt}, agent="codex")
    assert events(samples.ONE) == [("user_message", "one"), ("user_message", "two")]

    path = samples.codex(
        samples.meta(history_mode="paginated"),
        samples.message("user", "one"),
        samples.completed({"type": "text", "text": "one"}),
        samples.message("user", "two"),
        samples.completed({"type": "text", "text": "two"}),
        samples.message("assistant", "three"),
    ).write(home)
    hook({**call, "hook_event_name": "Stop", "transcript_path": str(path)}, agent="codex")

    said = [("user_message", "one"), ("user_message", "two"), ("text", "three")]
    assert events(samples.ONE) == said


def test_words_that_are_added_while_a_turn_of_claude_code_ends_are_stored_once(
    transcript: Transcript,
) -> None:
    """It runs the hook with the id of the turn that ends, and records them under another one."""
    hook(transcript.call("UserPromptSubmit", prompt="one", prompt_id="p"))
    transcript.prompt("one", "p")
    transcript.answer("1")
    hook(transcript.call("UserPromptSubmit", prompt="two", prompt_id="p"))
    hook(transcript.call("Stop"))
    now = datetime.now(UTC).isoformat()
    content = {"role": "user", "content": "two"}
    transcript.write("user", content, promptId="q", timestamp=now)
    transcript.answer("2")
    hook(transcript.call("Stop"))

    assert [content for _, content in events(transcript.id)] == ["one", "1", "two", "2"]
    assert as_json("import", "claude-code")[0]["events"] == 0


def test_words_that_a_person_adds_to_a_turn_of_claude_code_are_stored_at_once_and_once(
    transcript: Transcript,
) -> None:
    for prompt in ("one", "one", "two", "two"):
        hook(transcript.call("UserPromptSubmit", prompt=prompt, prompt_id="p"))
    assert events(transcript.id) == [("user_message", "one"), ("user_message", "two")]

    transcript.prompt("one", "p")
    attachment = {"type": "queued_command", "prompt": "two", "commandMode": "prompt"}
    now = datetime.now(UTC).isoformat()
    transcript.write("attachment", None, attachment=attachment, timestamp=now)
    transcript.answer("three")
    hook(transcript.call("Stop"))

    said = [("user_message", "one"), ("user_message", "two"), ("text", "three")]
    assert events(transcript.id) == said
    assert as_json("import", "claude-code")[0]["events"] == 0


def test_what_copilot_tells_the_model_itself_is_no_prompt(home: Path) -> None:
    call = {"session_id": samples.ONE, "hook_event_name": "UserPromptSubmit"}
    notice = "<system_notification>\nShell command 0 has completed.\n</system_notification>"

    hook({**call, "prompt": notice}, agent="copilot")

    assert as_json("list", "--all", "--archived")["sessions"] == []


def test_what_codex_writes_before_a_prompt_is_stored_before_it(home: Path) -> None:
    begin = [
        samples.meta(history_mode="paginated"),
        samples.message("developer", "Be kind."),
        samples.message("user", "<environment_context>"),
    ]
    path = samples.codex(*begin).write(home)
    call = {"session_id": samples.ONE, "turn_id": "t", "transcript_path": str(path)}

    hook({**call, "hook_event_name": "UserPromptSubmit", "prompt": "hello"}, agent="codex")

    context = [("system_context", "Be kind."), ("system_context", "<environment_context>")]
    assert events(samples.ONE) == [*context, ("user_message", "hello")]


def test_secrets_in_a_prompt_are_masked_and_its_record_is_recognized(
    transcript: Transcript,
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    hook(transcript.call("UserPromptSubmit", prompt=f"use {secret}"))
    transcript.prompt(f"use {secret}")
    path = json.loads(transcript.path.read_text())
    path["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    transcript.path.write_text(json.dumps(path) + "\n")
    hook(transcript.call("Stop"))

    (only,) = events(transcript.id)
    assert secret not in only[1]


def test_a_prompt_that_is_recorded_already_is_not_stored_again(transcript: Transcript) -> None:
    transcript.prompt("hello")

    hook(transcript.call("UserPromptSubmit", prompt="hello"))

    assert events(transcript.id) == [("user_message", "hello")]


def test_without_a_transcript_path_it_is_looked_for(transcript: Transcript) -> None:
    transcript.prompt("hello", "p1")
    transcript.answer("hi")
    call = transcript.call("Stop")
    del call["transcript_path"]

    hook(call)

    assert len(events(transcript.id)) == 2


def test_what_was_deleted_here_stays_deleted(transcript: Transcript, start: StartClient) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="hello", prompt_id="p1"))
    start().request("session/delete", {"sessionId": transcript.id})

    hook(transcript.call("UserPromptSubmit", prompt="again", prompt_id="p2"))

    assert as_json("list", "--all", "--archived")["sessions"] == []


def test_under_the_proxy_it_does_nothing(transcript: Transcript, database: Path) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="hello"), SEGUE_ACP="1")

    assert not database.parent.exists()


GARBAGE = [
    b"",
    b"nonsense",
    b"\xff\xfe{}",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"session_id": 1, "hook_event_name": "Stop"}',
    b'{"session_id": "x", "hook_event_name": "Stop", "transcript_path": "/etc/passwd"}',
    b'{"session_id": "x", "hook_event_name": "Stop", "transcript_path": "\\u0000"}',
    b'{"session_id": "../../x", "hook_event_name": "UserPromptSubmit", "prompt": ["a"]}',
    b'{"session_id": "x", "hook_event_name": "Never"}',
    b'{"session_id": "x", "hook_event_name": "UserPromptSubmit", "cwd": 7, "prompt_id": {}}',
]


@pytest.mark.parametrize("said", GARBAGE, ids=lambda said: said[:40].decode("ascii", "replace"))
def test_garbage_is_silent_and_stores_nothing(said: bytes, home: Path, database: Path) -> None:
    hook(said)

    assert as_json("list", "--all")["sessions"] == []
    assert "claude-code" in log(database)


def test_an_unknown_agent_and_wrong_settings_are_silent(transcript: Transcript) -> None:
    call = transcript.call("UserPromptSubmit", prompt="hello")

    hook(call, agent="agent-of-tomorrow")
    hook(call, SEGUE_CONTINUE_MINUTES="many")
    hook(call, SEGUE_DATABASE="https://example.org")
    hook(call, SEGUE_DATABASE="/proc/nothing/sessions.db")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_closed_descriptors_break_nothing(closed: str, home: Path) -> None:
    quoted = " ".join(f"'{part}'" for part in COMMAND)

    ended = subprocess.run(["sh", "-c", f"{quoted} {closed}"], input=b"", check=False, timeout=30)

    assert ended.returncode == 0


def test_an_input_that_stays_open_does_not_keep_it(transcript: Transcript) -> None:
    call = json.dumps(transcript.call("UserPromptSubmit", prompt="hello")).encode()
    begun = time.monotonic()
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(call)
        process.stdin.flush()
        assert process.wait(timeout=9) == 0
        assert time.monotonic() - begun < 9
    assert events(transcript.id) == [("user_message", "hello")]


def test_it_ends_after_ten_seconds_whatever_it_waits_for(home: Path, database: Path) -> None:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"session_id": "never')
        process.stdin.flush()
        assert process.wait(timeout=15) == 0
    assert "not done in 10 seconds" in log(database)


def test_a_warning_of_the_store_is_not_shown(transcript: Transcript, database: Path) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="one"))
    database.chmod(0o644)

    hook(transcript.call("UserPromptSubmit", prompt="two"))

    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_locked_store_is_silent_and_the_next_hook_catches_up(
    transcript: Transcript, database: Path
) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="one", prompt_id="p1"))
    transcript.prompt("one", "p1")
    transcript.answer("1")
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        took = hook(transcript.call("Stop"))
        other.execute("ROLLBACK")
    other.close()

    assert took < 12
    assert "failed" in log(database)
    hook(transcript.call("SessionEnd"))
    assert [content for _, content in events(transcript.id)] == ["one", "1"]


def test_a_damaged_store_is_silent(transcript: Transcript, database: Path) -> None:
    database.parent.mkdir(mode=0o700)
    database.write_bytes(b"not a database" * 1_000)
    database.chmod(0o600)

    hook(transcript.call("UserPromptSubmit", prompt="hello"))

    assert database.read_bytes().startswith(b"not a database")


def test_a_full_disk_is_silent_and_the_next_hook_catches_up(transcript: Transcript) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="one", prompt_id="p1"))
    transcript.prompt("one", "p1")
    for number in range(100):
        transcript.answer(f"{number} {'x' * 1_000}")
    quoted = " ".join(f"'{part}'" for part in COMMAND)
    full = subprocess.run(
        ["sh", "-c", f"ulimit -f 16; exec {quoted}"],
        input=json.dumps(transcript.call("Stop")).encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (full.returncode, full.stdout, full.stderr) == (0, b"", b"")
    assert len(events(transcript.id)) < 101

    hook(transcript.call("SessionEnd"))

    assert len(events(transcript.id)) == 101


def test_a_killed_hook_costs_nothing(transcript: Transcript) -> None:
    transcript.prompt("one", "p1")
    for number in range(200):
        transcript.answer(str(number))
    for delay in (0.1, 0.25, 0.4, 0.6):
        call = json.dumps(transcript.call("Stop")).encode()
        with subprocess.Popen(COMMAND, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(call)
            process.stdin.close()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)

    hook(transcript.call("Stop"))

    contents = [content for _, content in events(transcript.id)]
    assert contents == ["one", *map(str, range(200))]


def test_hooks_at_once_store_everything_once(transcript: Transcript) -> None:
    asked = transcript.call("UserPromptSubmit", prompt="one", prompt_id="p1")
    run_at_once([asked] * 3)
    transcript.prompt("one", "p1")
    for number in range(150):
        transcript.answer(str(number))

    run_at_once([transcript.call("Stop")] * 4)

    contents = [content for _, content in events(transcript.id)]
    assert contents == ["one", *map(str, range(150))]


def run_at_once(calls: list[dict[str, Any]]) -> None:
    processes = [subprocess.Popen(COMMAND, stdin=subprocess.PIPE) for _ in calls]
    for process, call in zip(processes, calls, strict=True):
        process.communicate(json.dumps(call).encode(), timeout=30)
        assert process.returncode == 0


def test_the_log_is_private_and_bounded_and_has_no_conversation(
    transcript: Transcript, database: Path
) -> None:
    hook(transcript.call("UserPromptSubmit", prompt="a private matter\n"))
    path = database.parent / "hook.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "private" not in log(database)
    assert "UserPromptSubmit" in log(database)

    path.write_text("x" * 300_000)
    hook(transcript.call("Stop"))
    hook(transcript.call("Stop\n forged"))

    assert path.stat().st_size < 1_000
    assert len(log(database).splitlines()) == 1
    assert (database.parent / "hook.log.1").exists()


def test_a_log_that_is_a_link_is_not_followed(
    transcript: Transcript, database: Path, tmp_path: Path
) -> None:
    database.parent.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (database.parent / "hook.log").symlink_to(victim)

    hook(transcript.call("UserPromptSubmit", prompt="hello"))

    assert victim.read_text() == "mine"
    assert events(transcript.id) == [("user_message", "hello")]


TRACED = """
import os, sys
leave = os._exit
def traced(code):
    with open(sys.argv.pop(), "w") as file:
        print(*sys.modules, file=file)
    leave(code)
trace = sys.argv.pop()
os._exit, sys.argv = traced, ["segue", "hook", "claude-code"]
from segue.startup import hook
run = hook.run
hook.run = lambda agent: (sys.argv.append(trace), run(agent))
from segue.startup.compose import main
main()
"""


def test_it_loads_neither_the_server_nor_the_commands(
    transcript: Transcript, tmp_path: Path
) -> None:
    call = json.dumps(transcript.call("UserPromptSubmit", prompt="hello")).encode()

    subprocess.run([sys.executable, "-c", TRACED, str(tmp_path / "trace")], input=call, check=True)

    loaded = (tmp_path / "trace").read_text().split()
    libraries = {name.partition(".")[0] for name in loaded}
    assert {"segue", "aiosqlite"} <= libraries
    assert not libraries & {
        "pygls",
        "lsprotocol",
        "click",
        "rich",
        "email",
        "http",
        "ssl",
        "_hashlib",
    }
    assert "segue.sessions.window" not in loaded


def test_a_prompt_on_a_socket_arrives(transcript: Transcript) -> None:
    """Node gives its children sockets instead of pipes."""
    mine, its = socket.socketpair()
    with mine, its, subprocess.Popen(COMMAND, stdin=its.fileno()) as process:
        mine.sendall(json.dumps(transcript.call("UserPromptSubmit", prompt="hello")).encode())
        mine.shutdown(socket.SHUT_WR)
        assert process.wait(timeout=30) == 0
    assert events(transcript.id) == [("user_message", "hello")]


def test_a_person_is_told_what_the_command_is_for() -> None:
    assert "AGENT is claude-code" in run("hook", "--help").stdout
