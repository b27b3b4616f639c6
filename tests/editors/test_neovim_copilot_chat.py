"""The chat of CopilotChat.nvim: of a fake of it, and of the real plugin if it is available."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import as_json
from tests.editors.neovim import (
    Report,
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
)
from tests.editors.plugins import checkout, needs_plugins

pytestmark = needs_neovim

REAL = {
    "copilot_chat": checkout("CopilotChat.nvim"),
    "plenary": checkout("plenary.nvim"),
}
real = [
    needs_plugins("CopilotChat.nvim", "plenary.nvim"),
    pytest.mark.skipif(not shutil.which("curl"), reason="CopilotChat.nvim needs curl"),
]

RunChat = Callable[..., Report]

TALK = ["one", "answer to one", "two", "answer to two"]


class Model(BaseHTTPRequestHandler):
    """Answers the last question of a request; one question late."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        question = json.loads(body)["messages"][-1]["content"].strip()
        if question == "do not answer":
            time.sleep(2)
        answer = json.dumps({"content": f"answer to {question}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Return where the model of the tests is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/chat"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["fake", pytest.param("real", marks=real)])
def run_chat(request: pytest.FixtureRequest, run_neovim: RunNeovim, url: str) -> RunChat:
    """Run a function of `copilotchat.lua` in a Neovim with CopilotChat; returns its report."""

    def run_with_copilot_chat(spec: str, **arguments: Any) -> Report:
        if request.param == "real":
            arguments |= REAL
        return run_neovim(f"copilotchat.{spec}", url=url, **arguments)

    return run_with_copilot_chat


def test_a_chat_is_recorded(run_chat: RunChat, database: Path) -> None:
    report = run_chat("two_turns")

    (session,) = session_ids(database)
    assert message_contents(database, session) == TALK
    assert [report["current"], report["agent"], report["model"]] == [session, "CopilotChat", "m"]
    assert report["called"] == TALK[1::2], "the callback of the user is called, too"
    assert notices(report) == []


def test_a_cleared_chat_is_another_conversation(run_chat: RunChat, database: Path) -> None:
    run_chat("cleared")

    first, second = session_ids(database)
    assert message_contents(database, first) == TALK[:2]
    assert message_contents(database, second) == TALK[2:]


def test_a_recorded_chat_is_resumed_in_it(run_chat: RunChat, database: Path) -> None:
    run_chat("two_turns")
    (session,) = session_ids(database)
    report = run_chat("resume", id=session)

    assert session_ids(database) == [session]
    assert message_contents(database, session) == [*TALK, "three", "answer to three"]
    assert report["current"] == session
    assert notices(report) == []


def test_a_saved_chat_is_that_of_its_session(
    run_chat: RunChat, database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copilotchat_history"
    run_chat("two_turns", folder=str(folder))
    run_chat("loaded", folder=str(folder))

    (session,) = session_ids(database)
    assert message_contents(database, session) == [*TALK, "three", "answer to three"]
    (imported,) = as_json("import", str(folder / "saved.json"))
    assert imported["skipped"] == {"recorded by Segue's plugin": 1}
    assert session_ids(database) == [session]


def test_what_was_asked_is_kept_at_exit(run_chat: RunChat, database: Path) -> None:
    run_chat("exit_in_mid_answer")

    (session,) = session_ids(database)
    assert message_contents(database, session)[0] == "do not answer"


def test_recording_can_be_disabled(run_chat: RunChat, database: Path) -> None:
    report = run_chat("disabled")

    assert report["called"] == ["answer to one"]
    assert not database.exists()
