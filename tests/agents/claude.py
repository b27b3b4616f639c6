"""Writes transcripts as Claude Code does."""

import json
from pathlib import Path
from typing import Any

SESSION = "1b0f0a52-7d0a-4b0f-9d9a-000000000001"
MODEL = "claude-sonnet-4-5"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def record(number: int, type: str, content: Any, parent: int | None, **fields: Any) -> Any:
    """Return a record with the uuid *number*, at second *number* of a minute."""
    message = {"role": type, "content": content}
    if type == "assistant":
        message |= {"id": f"msg_{number}", "model": MODEL}
    return {
        "type": type,
        "uuid": uuid(number),
        "parentUuid": None if parent is None else uuid(parent),
        "sessionId": SESSION,
        "cwd": "/work/project",
        "version": "2.1.332",
        "isSidechain": False,
        "timestamp": f"2026-11-20T10:00:{number:02d}.000Z",
        "message": message,
    } | fields


def user(number: int, content: Any, parent: int | None = None, **fields: Any) -> Any:
    return record(number, "user", content, parent, **fields)


def text(number: int, content: str, parent: int) -> Any:
    return record(number, "assistant", [{"type": "text", "text": content}], parent)


def tool_use(number: int, call: str, parent: int) -> Any:
    block = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": "ls"}}
    return record(number, "assistant", [block], parent)


def tool_result(number: int, call: str, parent: int, content: Any = "a\nb") -> Any:
    block = {"type": "tool_result", "tool_use_id": call, "content": content}
    return user(number, [block], parent, toolUseResult={"stdout": "a\nb"})


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)


def transcript(home: Path, content: bytes, session: str = SESSION) -> Path:
    """Write a transcript where Claude Code keeps it; return its path."""
    path = home / ".claude" / "projects" / "-work-project" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
