"""What an agent can do, and what it can do with Segue before it."""

from typing import Any

import attrs

import segue
from segue.acp.messages import text_in
from segue.agents.families import family_of

_MAX_NAME = 200


@attrs.frozen(kw_only=True)
class Agent:
    """What an agent says of itself when it is initialized."""

    family: str = "agent"
    title: str | None = None
    loads: bool = False
    resumes: bool = False
    lists: bool = False
    deletes: bool = False

    @classmethod
    def of(cls, result: dict[str, Any]) -> "Agent":
        """Return the agent of a result of `initialize`, whatever that has."""
        info = _object(result, "agentInfo")
        name = info.get("name")
        capabilities = _object(result, "agentCapabilities")
        sessions = _object(capabilities, "sessionCapabilities")
        has = {key for key, value in sessions.items() if value not in (None, False)}
        return cls(
            family=family_of(name) if isinstance(name, str) else "agent",
            title=text_in(info.get("title"), _MAX_NAME) or text_in(name, _MAX_NAME),
            loads=capabilities.get("loadSession") is True,
            resumes="resume" in has,
            lists="list" in has,
            deletes="delete" in has,
        )

    @property
    def has_conversations(self) -> bool:
        """Whether it can go on with its own conversations."""
        return self.loads or self.resumes


def with_ours(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result of `initialize` with what the proxy adds: list, load and resume."""
    capabilities = _object(result, "agentCapabilities")
    sessions = _object(capabilities, "sessionCapabilities")
    added: dict[str, Any] = {"list": {}, "resume": {}}
    if not Agent.of(result).lists:
        added["delete"] = {}
    return result | {
        "agentCapabilities": capabilities
        | {
            "loadSession": True,
            "sessionCapabilities": sessions
            | {key: value for key, value in added.items() if sessions.get(key) in (None, False)},
        },
        "_meta": _object(result, "_meta") | {"segue": {"version": segue.__version__}},
    }


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
