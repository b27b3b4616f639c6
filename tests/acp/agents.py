"""What real agents send, shortened, and short forms of what all of them do."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from segue.acp.recording import Recorder
from segue.acp.replaying import replay
from segue.model.events import Event
from segue.model.records import StoredEvent, Timestamp

Update = dict[str, Any]
Said = tuple[str, Any]


def chunk(text: str, id: str | None = None, kind: str = "agent_message_chunk") -> Update:
    """Return a chunk of a message."""
    more = {} if id is None else {"messageId": id}
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}, **more}


def thought(text: str, id: str | None = None) -> Update:
    """Return a chunk of what the model thinks."""
    return chunk(text, id, "agent_thought_chunk")


def told(id: str, **fields: Any) -> Update:
    """Return the first update of a call."""
    return {"sessionUpdate": "tool_call", "toolCallId": id, **fields}


def more(id: str, **fields: Any) -> Update:
    """Return a further update of a call."""
    return {"sessionUpdate": "tool_call_update", "toolCallId": id, **fields}


def as_content(text: str) -> dict[str, Any]:
    """Return a text as the content of a tool call."""
    return {"type": "content", "content": {"type": "text", "text": text}}


def prompt(*blocks: Any) -> dict[str, Any]:
    """Return the params of a prompt; a string is a block of text."""
    given = [{"type": "text", "text": each} if isinstance(each, str) else each for each in blocks]
    return {"sessionId": "s", "prompt": given}


def said(events: Iterable[Event]) -> list[Said]:
    """Return the types and data of events, as they are read back from a store."""
    return [(event.type, json.loads(event.json_text)) for event in events]


def contents(events: Iterable[Event]) -> str:
    """Return the contents of events, joined."""
    return "".join(event.data["content"] for event in events)


def stored(events: Sequence[Said]) -> list[StoredEvent]:
    """Return *events* as a store would."""
    return [
        StoredEvent(
            id=f"e{seq}",
            seq=seq,
            parent_id=None,
            invocation_id="i",
            created_at=Timestamp(seq),
            type=type,
            data=data,
            corrupt=isinstance(data, str),
        )
        for seq, (type, data) in enumerate(events, 1)
    ]


def turn(updates: Iterable[Update], question: str = "Do it") -> list[Said]:
    """Return what is recorded of a turn with these *updates*, one of them every millisecond."""
    recorder = Recorder()
    events = recorder.prompt(prompt(question))
    for number, update in enumerate(updates):
        events += recorder.update(update, number / 1_000)
    events += recorder.turn_end({"stopReason": "end_turn"})
    assert recorder.refused == 0
    return said(events)


def shown(updates: Iterable[Update]) -> list[Any]:
    """Return what a client shows of *updates*: texts joined, calls as they have become."""
    entries: list[Any] = []
    calls: dict[str, dict[str, Any]] = {}
    for update in updates:
        fields = {key: each for key, each in update.items() if each is not None and key != "_meta"}
        kind = fields.pop("sessionUpdate")
        if kind in ("tool_call", "tool_call_update"):
            if kind == "tool_call" and fields["toolCallId"] not in calls:
                calls[fields["toolCallId"]] = {}
                entries.append(calls[fields["toolCallId"]])
            calls[fields["toolCallId"]].update(fields)
        elif kind.endswith("_chunk"):
            fields.pop("messageId", None)
            last = entries[-1] if entries else None
            if isinstance(last, list) and last[0] == kind and "text" in fields["content"]:
                last[1] += fields["content"]["text"]
            else:
                content = fields["content"]
                entries.append([kind, content["text"] if content["type"] == "text" else content])
        elif kind == "plan":
            entries.append(fields)
    return entries


def replayed(events: Sequence[Said]) -> list[Update]:
    """Return the updates of *events*."""
    return [*replay(stored(events))]


CLAUDE: list[Update] = [
    {"sessionUpdate": "available_commands_update", "availableCommands": []},
    thought("The user wants "), thought("a listing."),
    chunk("I'll run ", "msg_1"), chunk("it.", "msg_1"),
    told("toolu_1", status="pending", rawInput={}, title="Terminal", kind="execute", content=[],
         _meta={"claudeCode": {"toolName": "Bash"}}),
    more("toolu_1", rawInput={"command": "ls"}, title="`ls`", kind="execute",
         _meta={"claudeCode": {"toolName": "Bash"}}),
    more("toolu_1", _meta={"claudeCode": {"toolName": "Bash", "toolResponse": {"stdout": "a"}}}),
    more("toolu_1", status="completed", rawOutput="a\nb", content=[as_content("```\na\nb\n```")]),
    {"sessionUpdate": "usage_update", "used": 10, "size": 200_000},
    told("toolu_2", status="pending", rawInput={}, title="Edit", kind="edit",
         _meta={"claudeCode": {"toolName": "Edit"}}),
    more("toolu_2", rawInput={"file_path": "/a.py"}, title="Edit `/a.py`",
         locations=[{"path": "/a.py"}],
         content=[{"type": "diff", "path": "/a.py", "oldText": "1", "newText": "2"}]),
    more("toolu_2", status="failed", rawOutput="No such file",
         content=[as_content("No such file")]),
    chunk("Done", "msg_2"), chunk(".\n", "msg_2"),
]  # fmt: skip

CLAUDE_REPLAY: list[Update] = [
    chunk("Do it", kind="user_message_chunk"),
    thought("The user wants a listing."),
    chunk("I'll run it."),
    told("toolu_1", status="pending", rawInput={"command": "ls"}, title="`ls`", kind="execute",
         content=[]),
    more("toolu_1", status="completed", rawOutput="a\nb", content=[as_content("```\na\nb\n```")]),
    told("toolu_2", status="pending", rawInput={"file_path": "/a.py"}, title="Edit `/a.py`",
         kind="edit", locations=[{"path": "/a.py"}],
         content=[{"type": "diff", "path": "/a.py", "oldText": "1", "newText": "2"}]),
    more("toolu_2", status="failed", rawOutput="No such file",
         content=[as_content("No such file")]),
    chunk("Done.\n"),
]  # fmt: skip

OPENCODE: list[Update] = [
    chunk("Let me look.", "msg_a"),
    told("call_1", title="bash", kind="execute", status="pending", locations=[], rawInput={}),
    more("call_1", status="in_progress", kind="execute", title="bash", locations=[],
         rawInput={"command": "echo hi", "description": "Says hi"}),
    *2 * [more("call_1", status="in_progress", content=[as_content("hi\n")])],
    more("call_1", status="completed", kind="execute", title="Says hi",
         content=[as_content("hi\n")], rawInput={"command": "echo hi", "description": "Says hi"},
         rawOutput={"output": "hi\n", "metadata": {"exit": 0}}),
    chunk("It says hi.", "msg_b"),
]  # fmt: skip

GEMINI: list[Update] = [
    told("run-1", status="in_progress", title="ls -l", content=[], locations=[], kind="execute"),
    more("run-1", status="completed", content=[]),
    chunk("There is nothing."),
]

CODEX: list[Update] = [
    chunk("Model metadata not found.\n\n"), chunk("Model metadata not found.\n\n"),
    told("call_9", kind="execute", title="ls", status="in_progress",
         rawInput={"command": ["bash", "-lc", "ls"]},
         content=[{"type": "terminal", "terminalId": "call_9"}],
         _meta={"terminal_info": {"terminal_id": "call_9"}}),
    more("call_9", _meta={"terminal_output_delta": {"terminal_id": "call_9", "data": "one\n"}}),
    more("call_9", _meta={"terminal_output_delta": {"terminal_id": "call_9", "data": "two\n"}}),
    more("call_9", status="completed", _meta={"terminal_exit": {"exit_code": 0}}),
    chunk("Two ", "m1"), chunk("files.", "m1"),
]  # fmt: skip

AGENTS = {"claude": CLAUDE, "opencode": OPENCODE, "gemini": GEMINI, "codex": CODEX}
