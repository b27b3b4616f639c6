"""`segue demo`: the main job, done for real, and each promise checked as it is kept."""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

import segue
from segue.cli.client import Client, RequestError, ServerGoneError
from segue.cli.printing import visible
from segue.model.events import new_id
from segue.store.sqlite import driver

_CONVERSATION: tuple[tuple[str, dict[str, Any]], ...] = (
    ("user_message", {"content": "Why does the build fail?"}),
    ("text", {"content": "Let me look at its log."}),
    ("tool_call", {"id": "call_1", "name": "read_file", "input": {"path": "build.log"}}),
    (
        "tool_result",
        {"tool_use_id": "call_1", "content": "ld: cannot find -lssl", "is_error": False},
    ),
    ("text", {"content": "The linker does not find OpenSSL: install its headers."}),
)
_STREAM = 1_000
_ANSWERED_BEFORE_THE_KILL = 60


def run() -> int:
    """Run the demonstration; return 1 if a promise was not kept, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="segue-demo-")).resolve()
    demonstration = Demonstration(folder)
    try:
        demonstration.run()
    except (RequestError, ServerGoneError, TimeoutError) as error:
        demonstration.broken.append(str(error))
        click.secho(f"  ✗ {visible(str(error))}", fg="red")
    finally:
        demonstration.close()
        shutil.rmtree(folder)
    if demonstration.broken:
        click.secho(f"\n{len(demonstration.broken)} promises were not kept.", fg="red", bold=True)
        return 1
    click.secho("\nNothing lost, nothing twice.", fg="green", bold=True)
    return 0


class Demonstration:
    """A conversation that is recorded, cut off by SIGKILL, and brought back elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.broken: list[str] = []
        self._repository = folder / "project"
        self._subdirectory = self._repository / "src" / "parser"
        self._environment = {
            "SEGUE_DATABASE": str(folder / "data" / "sessions.db"),
            "SEGUE_CONTINUE_MINUTES": "60",
            "SEGUE_LOG": "warning",
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self._client: Client | None = None

    def run(self) -> None:
        """Do it, step by step, and print what happens as it happens."""
        click.echo(f"Segue {segue.__version__}, SQLite {driver.VERSION} from {driver.NAME}")
        self._make_repository()

        _title(f"An editor opens a session in {self._repository.name}/")
        client = self._start(self._repository)
        opened = client.request("session/open")
        session_id = opened["session"]["sessionId"]
        _say(f"session {session_id}: new. {opened['reason']}")

        _title("A conversation is recorded; each event is on disk before it is acknowledged")
        events = [_event(kind, data) for kind, data in _CONVERSATION]
        for event in events:
            placed = client.request("session/append", _append(session_id, event))["events"][0]
            _say(f"acknowledged {placed['seq']} {event['type']:<13} {_glimpse(event)}")

        _title(f"{_STREAM:,} more are sent without waiting, and the server is killed meanwhile")
        stream = [_event("text", {"content": f"streamed line {n}"}) for n in range(1, _STREAM + 1)]
        unanswered = self._stream_and_kill(client, session_id, stream)
        events += stream
        _say("SIGKILL: the server had no time for a goodbye")
        _say(f"{_STREAM - len(unanswered)} acknowledged, {len(unanswered)} without an answer")

        _title(f"Another editor opens {self._subdirectory.relative_to(self._repository.parent)}/")
        client = self._start(self._subdirectory)
        opened = client.request("session/open", {"mode": "resume"})
        boundary = opened["boundary"]
        self._check("the same session is resumed", opened["session"]["sessionId"] == session_id)
        _say(f"why: {visible(opened['reason'])}")
        _say(f"boundary: {boundary['data']['content']}")
        stored = {event["id"] for event in self._all_events(client, session_id)}
        acknowledged = {event["id"] for event in events} - {event["id"] for event in unanswered}
        self._check(
            f"all {len(acknowledged)} acknowledged events are there", acknowledged <= stored
        )

        _title("It sends the unanswered events again, with the ids that they had")
        duplicates = 0
        for event in unanswered:
            answer = client.request("session/append", _append(session_id, event))
            duplicates += answer["duplicates"]
        lost_answers = len(stored - acknowledged)
        _say(f"{len(unanswered)} resent: {duplicates} had been stored, only their answer was lost")
        self._check("an event that was stored is not stored again", duplicates == lost_answers)
        goes_on = _event("user_message", {"content": "Good. And now?"})
        client.request("session/append", _append(session_id, goes_on))

        _title("The conversation, whole")
        self._check_whole(self._all_events(client, session_id), [*events, goes_on], boundary)

    def close(self) -> None:
        """End the server that still runs."""
        if self._client is not None:
            self._client.close_stdin()

    def _make_repository(self) -> None:
        self._subdirectory.mkdir(parents=True)
        git = shutil.which("git")
        if git is None:
            (self._repository / ".git").mkdir()
        else:
            # A leaked GIT_DIR, as in a hook, would have git make the repository elsewhere.
            clean = {name: at for name, at in os.environ.items() if not name.startswith("GIT_")}
            subprocess.run([git, "init", "--quiet", self._repository], check=True, env=clean)  # noqa: S603

    def _start(self, directory: Path) -> Client:
        self._client = Client(directory, self._environment)
        self._client.initialize(rootUri=directory.as_uri())
        return self._client

    def _stream_and_kill(
        self, client: Client, session_id: str, stream: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        sent = [client.send("session/append", _append(session_id, event)) for event in stream]
        client.result(sent[_ANSWERED_BEFORE_THE_KILL - 1])
        client.kill()
        answered = {msg_id for msg_id in sent if client.is_answered(msg_id)}
        answered.add(sent[_ANSWERED_BEFORE_THE_KILL - 1])
        return [event for msg_id, event in zip(sent, stream, strict=True) if msg_id not in answered]

    def _all_events(self, client: Client, session_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        more = True
        while more:
            after = events[-1]["seq"] if events else 0
            page = client.request("session/events", {"sessionId": session_id, "after": after})
            events += page["events"]
            more = page["hasMore"]
        return events

    def _check_whole(
        self, stored: list[dict[str, Any]], sent: list[dict[str, Any]], boundary: dict[str, Any]
    ) -> None:
        _say_all(stored)
        ids = [event["id"] for event in stored]
        said = [event for event in stored if event["id"] != boundary["id"]]
        self._check("nothing twice", len(set(ids)) == len(ids))
        self._check(
            "nothing lost, in the order in which it was sent",
            [event["id"] for event in said] == [event["id"] for event in sent],
        )
        self._check(
            "every event as it was sent",
            [(event["type"], event["data"]) for event in said]
            == [(event["type"], event["data"]) for event in sent],
        )
        self._check(
            "one chain: each event names the one before it",
            [event["parentId"] for event in stored] == [None, *ids[:-1]]
            and [event["seq"] for event in stored] == list(range(1, len(stored) + 1)),
        )
        invocations = [event["invocationId"] for event in stored]
        self._check(
            "the boundary stands where the second invocation begins",
            boundary["id"] in ids
            and invocations.index(invocations[-1]) == ids.index(boundary["id"])
            and len(set(invocations)) == 2,
        )

    def _check(self, promise: str, kept: bool) -> None:
        if kept:
            click.secho(f"  ✓ {promise}", fg="green")
        else:
            click.secho(f"  ✗ {promise}", fg="red")
            self.broken.append(promise)


def _event(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": new_id(), "type": kind, "data": data}


def _append(session_id: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"sessionId": session_id, "events": [event]}


def _glimpse(event: dict[str, Any]) -> str:
    data = event["data"]
    return visible(str(data.get("content") or f"{data['name']} {data['input']}"))


def _say_all(events: list[dict[str, Any]]) -> None:
    for streamed, group in itertools.groupby(events, lambda event: "streamed" in _glimpse(event)):
        each = list(group)
        if streamed and len(each) > 2:
            _say(f"      … {len(each):,} streamed lines …")
        else:
            for event in each:
                _say(f"{event['seq']:>3} {event['type']:<14} {_glimpse(event)}")


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _say(text: str) -> None:
    click.echo(f"  {text}")
