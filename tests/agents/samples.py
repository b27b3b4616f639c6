"""Conversations as other programs write them, made for the tests, and what an import stores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from segue.store.service import SessionService

Record = dict[str, Any]

ONE = "01999999-0000-7000-8000-000000000001"
TWO = "01999999-0000-7000-8000-000000000002"
TIME = "2026-03-04T05:06:{:02}.000Z"
IMAGE = "data:image/png;base64,iVBORw0KGgo="


@attrs.frozen
class Sample:
    """A file of a source, by its place in the home folder."""

    source: str
    path: str
    records: Sequence[Record]

    def write(self, home: Path, records: Sequence[Record] | None = None) -> Path:
        """Write the file, or other *records* in its place."""
        path = home / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_lines(self.records if records is None else records))
        return path


def as_lines(records: Sequence[Record]) -> bytes:
    """Return records as JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def claude_code(*records: Record) -> Sample:
    """Return a transcript of Claude Code; with records of its own, it has only those."""
    return Sample("claude-code", f".claude/projects/-p/{ONE}.jsonl", records or _claude_code())


def _claude_code() -> list[Record]:
    count = 0

    def record(type: str, parent: str | None, content: Any, **fields: Any) -> Record:
        nonlocal count
        count += 1
        message = {"role": type, "content": content, **fields.pop("message", {})}
        return {
            "type": type, "uuid": f"u{count}", "parentUuid": parent, "cwd": "/p", "version": "2.1",
            "timestamp": TIME.format(count), "message": message, **fields,
        }  # fmt: skip

    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "a.py", "is_error": False}
    thought = {"type": "thinking", "thinking": "Look first.", "signature": "x"}
    return [
        {"type": "file-history-snapshot", "messageId": "m"},
        record("user", None, "List the files"),
        record("assistant", "u1", [thought, call], message={"id": "m1", "model": "claude"}),
        record("user", "u2", [result]),
        record("assistant", "u3", [{"type": "text", "text": "One."}] * 2, message={"id": "m2"}),
        record("user", "u4", "And tests?"),
        record("assistant", "u5", [{"type": "text", "text": "None."}], message={"id": "m3"}),
        record("user", "u4", "And docs?"),
        record("assistant", "u7", [{"type": "text", "text": "None."}], message={"id": "m4"}),
        {"type": "custom-title", "customTitle": "Files"},
    ]


def without_id(sample: Sample, at: int) -> Sample:
    """Return a sample with a record that has no id, so that those of its events are made up."""
    records = list(sample.records)
    records[at] = {k: v for k, v in records[at].items() if k not in ("uuid", "id")}
    return attrs.evolve(sample, records=records)


def codex(*records: Record, id: str = ONE) -> Sample:
    """Return a rollout of Codex; with records of its own, it has only those."""
    path = f".codex/sessions/2026/03/04/rollout-2026-03-04T05-06-00-{id}.jsonl"
    return Sample("codex", path, records or _codex())


def line(type: str, payload: Record, **fields: Any) -> Record:
    """Return a line of a rollout."""
    return {"timestamp": TIME.format(1), "type": type, "payload": payload, **fields}


def message(role: str, *texts: str) -> Record:
    """Return a line with a message."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text} for text in texts]
    return line("response_item", {"type": "message", "role": role, "content": content})


def heard(text: str, **fields: Any) -> Record:
    """Return the line that says what a person wrote."""
    return line("event_msg", {"type": "user_message", "message": text, **fields})


def completed(*parts: Record, turn: str = "t") -> Record:
    """Return the line that says what a person wrote, with paginated history."""
    item = {"type": "UserMessage", "id": "i", "content": list(parts)}
    return line("event_msg", {"type": "item_completed", "turn_id": turn, "item": item})


def item(type: str, **fields: Any) -> Record:
    """Return a line with any other part of a conversation."""
    return line("response_item", {"type": type, **fields})


def meta(id: str = ONE, **fields: Any) -> Record:
    """Return the first line of a rollout."""
    return line("session_meta", {"id": id, "cwd": "/p", "cli_version": "0.80.0", **fields})


def _codex() -> list[Record]:
    command = json.dumps({"command": ["ls"]})
    return [
        meta(source="cli", base_instructions={"text": "You are"}),
        message("developer", "<permissions instructions>"),
        message("user", "<environment_context>\n  <cwd>/p</cwd>"),
        line("turn_context", {"cwd": "/p", "model": "gpt-5"}),
        message("user", "List the files"),
        heard("List the files", kind="plain"),
        line("event_msg", {"type": "agent_reasoning", "text": "Look first."}),
        item("reasoning", summary=[{"type": "summary_text", "text": "Look first."}],
             encrypted_content="gAAA"),
        item("function_call", name="shell", arguments=command, call_id="c1"),
        item("function_call", name="shell", arguments=command, call_id="c2"),
        item("function_call_output", call_id="c2", output="Exit code: 1\nOutput:\nno"),
        item("function_call_output", call_id="c1", output="Exit code: 0\nOutput:\na.py"),
        line("event_msg", {"type": "token_count"}),
        message("assistant", "One."),
        line("event_msg", {"type": "agent_message", "message": "One."}),
        message("user", "And tests?"),
        heard("And tests?"),
        message("assistant", "None."),
        line("event_msg", {"type": "thread_rolled_back", "num_turns": 1}),
        message("user", "And docs?"),
        heard("And docs?", images=[IMAGE]),
        message("assistant", "None either."),
        line("compacted", {"message": ""}),
        message("user", "<turn_aborted>\n"),
        line("event_msg", {"type": "turn_aborted", "reason": "interrupted"}),
    ]  # fmt: skip


def copilot_cli(*records: Record) -> Sample:
    """Return a log of Copilot CLI; with records of its own, it has only those."""
    path = f".copilot/session-state/{ONE}/events.jsonl"
    return Sample("copilot-cli", path, records or _copilot_cli())


def events(*given: tuple[str, Record]) -> list[Record]:
    """Return the lines of a log of Copilot CLI."""
    return [
        {"type": type, "data": data, "id": f"e{number}", "timestamp": TIME.format(number),
         "parentId": f"e{number - 1}"}
        for number, (type, data) in enumerate(given, 1)
    ]  # fmt: skip


def _copilot_cli() -> list[Record]:
    ls = {"toolCallId": "c1", "name": "bash", "arguments": {"command": "ls"}}
    start = {"toolCallId": "c1", "toolName": "bash", "arguments": {"command": "ls"}}
    mine = {"toolCallId": "c2", "toolName": "bash", "arguments": {"command": "git status"}}
    return events(
        ("session.start", {"sessionId": ONE, "copilotVersion": "1.0", "context": {"cwd": "/p"}}),
        ("user.message", {"content": "List the files", "transformedContent": "<x>List"}),
        ("system.message", {"role": "system", "content": "You are"}),
        ("assistant.reasoning", {"reasoningId": "r", "content": "Look first."}),
        ("assistant.message", {"messageId": "m1", "content": "", "reasoningText": "Look first.",
                               "toolRequests": [ls], "reasoningOpaque": "gAAA"}),
        ("tool.execution_start", start),
        ("tool.execution_complete", {"toolCallId": "c1", "success": True,
                                     "result": {"content": "a.py"}}),
        ("assistant.message", {"messageId": "m2", "content": "One.", "toolRequests": []}),
        ("tool.user_requested", mine),
        ("tool.execution_start", mine),
        ("tool.execution_complete", {"toolCallId": "c2", "success": True, "isUserRequested": True,
                                     "result": {"content": "clean"}}),
        ("user.message", {"content": "Go on", "source": "skill-x"}),
        ("session.model_change", {"newModel": "gpt-5"}),
        ("session.compaction_complete", {"success": True, "summaryContent": "So far"}),
        ("abort", {"reason": "user_abort"}),
        ("user.message", {"content": "And docs?"}),
        ("session.error", {"errorType": "quota", "message": "No more"}),
    )  # fmt: skip


def legacy_copilot_cli() -> Sample:
    """Return the log of an old version: its fields stand beside `type`."""
    records = [record | record.pop("data") for record in _copilot_cli()]
    return Sample("copilot-cli", f".copilot/session-state/{ONE}.jsonl", records)


async def stored(service: SessionService) -> Mapping[str, Any]:
    """Return everything that matters of all sessions, by their ids."""
    found = {}
    for session in (await service.list_sessions(archived=True)).sessions:
        page = await service.load_events(session.id, after=0)
        found[session.id] = (
            session.title,
            session.directory,
            session.forked_from,
            session.archived_at is not None,
            [(each.id, each.type, each.data, each.created_at) for each in page.events],
        )
    return found


async def kept(service: SessionService, id: str = ONE) -> list[tuple[str, Any]]:
    """Return the types and what is in the events of a session."""
    page = await service.load_events(id, after=0)
    return [(each.type, each.data) for each in page.events]
