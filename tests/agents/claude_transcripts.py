"""Transcripts as Claude Code writes them, made record by record."""

import json
import uuid
from pathlib import Path
from typing import Any


class Transcript:
    """A conversation in the folder of Claude Code in *home*, which a test writes to."""

    def __init__(self, home: Path, directory: Path) -> None:
        self.id = str(uuid.uuid4())
        self.directory = directory
        self.path = home / ".claude" / "projects" / "-project" / f"{self.id}.jsonl"
        self.last: str | None = None
        self.count = 0

    def prompt(self, text: str, prompt_id: str | None = None, parent: str | None = None) -> str:
        """Write the record of a prompt and return its id."""
        content = {"role": "user", "content": text}
        extra = {} if prompt_id is None else {"promptId": prompt_id}
        return self.write("user", content, parent=parent, **extra)

    def answer(self, text: str) -> str:
        """Write the record of an answer and return its id."""
        content = {
            "role": "assistant",
            "id": f"msg_{self.count}",
            "model": "claude-test",
            "content": [{"type": "text", "text": text}],
        }
        return self.write("assistant", content)

    def write(self, kind: str, message: Any, parent: str | None = None, **extra: Any) -> str:
        """Write a record and return its id."""
        self.count += 1
        id = str(uuid.uuid4())
        record = {
            "type": kind,
            "uuid": id,
            "parentUuid": parent or self.last,
            "sessionId": self.id,
            "cwd": str(self.directory),
            "version": "2.1.0",
            "timestamp": f"2026-01-01T10:00:{self.count:02}.000Z",
            "message": message,
            **extra,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.last = id
        return id

    def call(self, event: str, **extra: Any) -> dict[str, Any]:
        """Return what Claude Code says to a hook."""
        return {
            "session_id": self.id,
            "transcript_path": str(self.path),
            "cwd": str(self.directory),
            "hook_event_name": event,
            **extra,
        }
