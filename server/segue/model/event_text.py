"""An event as text, for people and for models."""

import json
from typing import Any

from segue.model.records import StoredEvent


def event_text(event: StoredEvent) -> str:
    """Return an event as text: its content if that is a string, else its data as JSON."""
    data: Any = event.data
    if isinstance(data, str):
        return f"(corrupt) {data}"
    match data:
        case {"name": str(name), "input": given}:
            return f"{name} {json.dumps(given, ensure_ascii=False)}"
        case {"content": str(content)}:
            return f"(error) {content}" if data.get("is_error") is True else content
        case _:
            return json.dumps(data, ensure_ascii=False, indent=2)
