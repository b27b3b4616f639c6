"""`segue demo`: record a conversation, kill the server, resume it, and check each promise."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import segue
from segue.cli.client import Client, RequestError, ServerGoneError
from segue.cli.printing import print_line
from segue.model.events import new_id
from segue.model.store_reports import StoreEngine

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
_SERVER = (sys.executable, "-E", "-P", "-m", "segue", "lsp")
"""As the command `segue` starts it: without the variables of another Python."""

_STREAM = 1_000
_ACKNOWLEDGED_BEFORE_KILL = 60


def run(engine: StoreEngine) -> int:
    """Run the demonstration on a store of *engine*; return 1 if a promise was not kept, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="segue-demo-")).resolve()
    demonstration = Demonstration(folder, engine)
    try:
        demonstration.run()
    except (RequestError, ServerGoneError, TimeoutError) as error:
        demonstration.failures.append(str(error))
        print_line(f"  ✗ {error}", color="red")
    finally:
        demonstration.close()
        shutil.rmtree(folder)
    if demonstration.failures:
        print_line()
        count = len(demonstration.failures)
        print_line(f"{count} promises were not kept.", color="red", bold=True)
        return 1
    print_line()
    print_line("Nothing lost, nothing twice.", color="green", bold=True)
    print_line()
    print_line(
        "Next: `segue import --discover` lists the programs here that have conversations, and"
    )
    print_line("`segue hook install all` records the agents in a terminal from now on.")
    return 0


class Demonstration:
    """A conversation that is recorded, interrupted by SIGKILL, and resumed in another directory.

    `failures` holds the promises that were not kept.
    """

    def __init__(self, folder: Path, engine: StoreEngine) -> None:
        self._engine = engine
        self.failures: list[str] = []
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
        """Run all steps and print each as it happens."""
        engine = self._engine
        print_line(
            f"Segue {segue.__version__}, {engine.name} {engine.version} from {engine.library}"
        )
        self._make_repository()

        _print_title(f"An editor opens a session in {self._repository.name}/")
        client = self._start(self._repository)
        opened = client.request("session/open")
        session_id = opened["session"]["sessionId"]
        _print(f"session {session_id}: new. {opened['reason']}")

        _print_title("A conversation is recorded; each event is on disk before it is acknowledged")
        events = [_event(type, data) for type, data in _CONVERSATION]
        for event in events:
            placed = client.request("session/append", _append(session_id, event))["events"][0]
            _print(f"acknowledged {placed['seq']} {event['type']:<13} {_summary(event)}")

        _print_title(f"{_STREAM:,} more are sent without waiting; the server is killed meanwhile")
        stream = [_event("text", {"content": f"streamed line {n}"}) for n in range(1, _STREAM + 1)]
        unacknowledged = self._stream_and_kill(client, session_id, stream)
        events += stream
        _print("SIGKILL: the server cannot clean up")
        received = _STREAM - len(unacknowledged)
        _print(f"{received} acknowledged, {len(unacknowledged)} without a response")

        directory = self._subdirectory.relative_to(self._repository.parent)
        _print_title(f"Another editor opens {directory}/")
        client = self._start(self._subdirectory)
        opened = client.request("session/open", {"mode": "resume"})
        boundary = opened["boundary"]
        self._check("the same session is resumed", opened["session"]["sessionId"] == session_id)
        _print(f"why: {opened['reason']}")
        _print(f"boundary: {boundary['data']['content']}")
        stored = {event["id"] for event in self._all_events(client, session_id)}
        acknowledged = {event["id"] for event in events} - {event["id"] for event in unacknowledged}
        self._check(
            f"all {len(acknowledged)} acknowledged events are there", acknowledged <= stored
        )

        _print_title("It sends the unacknowledged events again, with the ids that they had")
        duplicates = 0
        for event in unacknowledged:
            result = client.request("session/append", _append(session_id, event))
            duplicates += result["duplicates"]
        lost_responses = len(stored - acknowledged)
        _print(f"{len(unacknowledged)} resent: {duplicates} had been stored without a response")
        self._check("an event that was stored is not stored again", duplicates == lost_responses)
        next_message = _event("user_message", {"content": "Good. And now?"})
        client.request("session/append", _append(session_id, next_message))

        _print_title("The whole conversation")
        self._check_whole(self._all_events(client, session_id), [*events, next_message], boundary)

    def close(self) -> None:
        """End the server if it still runs."""
        if self._client is not None:
            self._client.close_stdin()

    def _make_repository(self) -> None:
        self._subdirectory.mkdir(parents=True)
        (self._repository / ".git").mkdir()

    def _start(self, directory: Path) -> Client:
        self._client = Client(directory, self._environment, _SERVER)
        self._client.initialize(rootUri=directory.as_uri())
        return self._client

    def _stream_and_kill(
        self, client: Client, session_id: str, stream: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        sent = [client.send("session/append", _append(session_id, event)) for event in stream]
        client.result(sent[_ACKNOWLEDGED_BEFORE_KILL - 1])
        client.kill()
        acknowledged = {msg_id for msg_id in sent if client.is_answered(msg_id)}
        acknowledged.add(sent[_ACKNOWLEDGED_BEFORE_KILL - 1])
        return [
            event for msg_id, event in zip(sent, stream, strict=True) if msg_id not in acknowledged
        ]

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
        _print_events(stored)
        ids = [event["id"] for event in stored]
        without_boundary = [event for event in stored if event["id"] != boundary["id"]]
        self._check("nothing twice", len(set(ids)) == len(ids))
        self._check(
            "nothing lost, in the order in which it was sent",
            [event["id"] for event in without_boundary] == [event["id"] for event in sent],
        )
        self._check(
            "every event as it was sent",
            [(event["type"], event["data"]) for event in without_boundary]
            == [(event["type"], event["data"]) for event in sent],
        )
        self._check(
            "one parent chain: each event names the one before it",
            [event["parentId"] for event in stored] == [None, *ids[:-1]]
            and [event["seq"] for event in stored] == list(range(1, len(stored) + 1)),
        )
        invocations = [event["invocationId"] for event in stored]
        self._check(
            "the boundary is where the second invocation begins",
            boundary["id"] in ids
            and invocations.index(invocations[-1]) == ids.index(boundary["id"])
            and len(set(invocations)) == 2,
        )

    def _check(self, promise: str, kept: bool) -> None:
        if kept:
            print_line(f"  ✓ {promise}", color="green")
        else:
            print_line(f"  ✗ {promise}", color="red")
            self.failures.append(promise)


def _event(type: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": new_id(), "type": type, "data": data}


def _append(session_id: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"sessionId": session_id, "events": [event]}


def _summary(event: dict[str, Any]) -> str:
    data = event["data"]
    return str(data.get("content") or f"{data['name']} {data['input']}")


def _print_events(events: list[dict[str, Any]]) -> None:
    for streamed, group in itertools.groupby(events, lambda event: "streamed" in _summary(event)):
        group_events = list(group)
        if streamed and len(group_events) > 2:
            _print(f"      … {len(group_events):,} streamed lines …")
        else:
            for event in group_events:
                _print(f"{event['seq']:>3} {event['type']:<14} {_summary(event)}")


def _print_title(title: str) -> None:
    print_line()
    print_line(title, bold=True)


def _print(line: str) -> None:
    print_line(f"  {line}")
