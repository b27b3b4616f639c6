"""The agents that keep the same conversations, whatever name they have."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FAMILIES = {
    "claude-agent-acp": "claude",
    "claude-code-acp": "claude",
    "claude-code": "claude",
    "codex-acp": "codex",
    "codex": "codex",
    "gemini-cli": "gemini",
    "copilot-cli": "copilot",
    "copilot-agent": "copilot",
    "opencode": "opencode",
    "qwen-code": "qwen",
}
"""By their names in ACP and as import sources."""


def family_of(name: str) -> str:
    """Return the family of an agent, by the name that it or its source has."""
    short = name.rpartition("/")[2].strip().lower().replace(" ", "-")
    return FAMILIES.get(short, short)[:100] or "agent"


def sessions_of(family: str, stored: Mapping[str, Any]) -> dict[str, tuple[str, Sequence[Any]]]:
    """Return the sessions that the agents of a family have, by the ids that they call them.

    Each with the openings in which they had it. *stored* is what sessions have under `AGENTS`, by
    their ids.
    """
    return {
        id: (session_id, invocations)
        for session_id, families in stored.items()
        if isinstance(families, dict)
        for id, invocations in _conversations_in(families.get(family))
    }


def _conversations_in(value: Any) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the ids under which agents of a family have a session, and in which openings.

    *value* is what the metadata has of the family. An agent that has lost a conversation goes on
    with it under another id.
    """
    match value:
        case {"id": str(id), "invocations": list(invocations), **more}:
            former = more.get("former")
            for each in former if isinstance(former, list) else ():
                yield from _conversations_in(each)
            yield id, invocations
