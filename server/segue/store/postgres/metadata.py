"""Metadata as it is stored: JSON by its keys, and the conversations that it names."""

from collections.abc import Mapping
from typing import Any

from segue.model import json_text
from segue.model.records import AGENTS
from segue.store.postgres import codec
from segue.store.postgres.codec import Parameter


def conversation_ids(key: str, value: Any) -> list[str]:
    """Return the ids that agents have given a conversation, if *value* is the one under AGENTS.

    Of what `segue acp` has recorded, its agents have files, under ids of their own: once it is
    deleted, none of them is imported.
    """
    if key != AGENTS or not isinstance(value, dict):
        return []
    agents = [each for each in value.values() if isinstance(each, dict)]
    former = [each for agent in agents for each in _objects(agent.get("former"))]
    return [each["id"] for each in (*agents, *former) if isinstance(each.get("id"), str)]


def encoded(metadata: Mapping[str, Any]) -> tuple[Parameter, Parameter, Parameter]:
    """Return the keys and the JSON of new metadata, and the ids of conversations in it."""
    given = {key: value for key, value in metadata.items() if value is not None}
    return (
        codec.texts(list(given)),
        codec.stored_texts([json_text.encode("$.value", value) for value in given.values()]),
        codec.ids(conversation_ids(AGENTS, given.get(AGENTS))),
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
