"""What a conversation is made of: the event types, and their JSON.

An event travels and is stored as `(type, data)`; the classes below say what `data` holds for the
types that Segue knows. New events are checked strictly (`Event.new`), stored ones are read back
as they are (`decode`): a type or a field of a later version is never a reason to refuse one.
"""

from typing import Annotated, Any

import attrs

from segue.model import validation
from segue.model.json_text import encode
from segue.model.validation import Fault, InvalidInputError, StringLength

Name = Annotated[str, StringLength(128)]
"""An id or a type: 1 to 128 characters."""

MAX_TITLE = 80


@attrs.frozen(kw_only=True)
class UserMessage:
    """What the person said."""

    content: str


@attrs.frozen(kw_only=True)
class Text:
    """What the model said."""

    content: str


@attrs.frozen(kw_only=True)
class ToolCall:
    """The model asks for a tool; `input` is any JSON."""

    id: str
    name: str
    input: Any


@attrs.frozen(kw_only=True)
class ToolResult:
    """What the tool answered; `remote` when the model's own service ran it."""

    tool_use_id: str
    content: str
    is_error: bool
    remote: bool = False
    content_length: int | None = None


@attrs.frozen(kw_only=True)
class SkillInvocation:
    """A skill (a stored prompt) that was brought in."""

    name: str
    arguments: str | None = None
    content: str


@attrs.frozen(kw_only=True)
class SystemContext:
    """A note of the editor to the model, such as the boundary of a resumed session."""

    content: str


@attrs.frozen(kw_only=True)
class OutOfBandOutput:
    """What the editor showed to the person and the model never saw."""

    name: str
    command: str | None = None
    content: str


Payload = (
    UserMessage | Text | ToolCall | ToolResult | SkillInvocation | SystemContext | OutOfBandOutput
)

PAYLOADS: dict[str, type] = {
    "user_message": UserMessage,
    "text": Text,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
    "skill_invocation": SkillInvocation,
    "system_context": SystemContext,
    "out_of_band_output": OutOfBandOutput,
}

MODEL_VISIBLE = frozenset({"user_message", "text", "tool_call", "tool_result", "skill_invocation"})
"""The types that a model is shown. A session without one of them is not a conversation."""


@attrs.frozen(kw_only=True)
class _Envelope:
    id: Name | None = None
    type: Name
    data: Any


@attrs.frozen
class _AnyObject:
    """What a type that Segue does not know may hold: any JSON object."""


_TYPE_OF = {payload: name for name, payload in PAYLOADS.items()}
_converter = validation.make_converter()


@attrs.frozen(kw_only=True)
class Event:
    """One thing that was said or done. Made by `parse`, `new` or `of`, which check it."""

    id: str
    type: str
    data: dict[str, Any] = attrs.field(eq=False)
    json_text: str = attrs.field(metadata={"json": None})
    """`data` as it is stored: ASCII JSON, key order kept."""

    @classmethod
    def parse(cls, value: Any, _: Any = None) -> "Event":
        """Return *value*, `{id?, type, data}`, as a checked event; a structure hook of cattrs.

        Without an id it gets a UUIDv7. Raises InvalidInputError, naming each field, if a known type
        lacks one or has a wrong one, or if `data` is not a JSON object that every reader can read
        back. Fields and types that are not known are kept.
        """
        faults: list[Fault] = []
        try:
            envelope = validation.structure(_converter, value, _Envelope)
        except InvalidInputError as error:
            faults += error.faults
        if isinstance(value, dict) and "data" in value:
            faults += _faults_of_data(value.get("type"), value["data"])
        if faults:
            raise InvalidInputError(*faults)
        return cls(
            id=envelope.id or new_id(),
            type=envelope.type,
            data=envelope.data,
            json_text=encode("$.data", envelope.data),
        )

    @classmethod
    def new(cls, type: str, data: Any, id: str | None = None) -> "Event":
        """Return a checked event, as `parse` does."""
        return cls.parse({"id": id, "type": type, "data": data})

    @classmethod
    def of(cls, payload: Payload) -> "Event":
        """Return *payload* as an event with an id of its own."""
        return cls.new(_TYPE_OF[payload.__class__], attrs.asdict(payload))

    def with_data(self, data: dict[str, Any]) -> "Event":
        """Return the same event with other *data*, whose fields are as checked as these were."""
        return attrs.evolve(self, data=data, json_text=encode("$.data", data))


def _faults_of_data(type: Any, data: Any) -> tuple[Fault, ...]:
    kind = PAYLOADS.get(type, _AnyObject) if isinstance(type, str) else _AnyObject
    try:
        validation.structure(_converter, data, kind)
    except InvalidInputError as error:
        return error.prefixed("$.data").faults
    return ()


def new_id() -> str:
    """Return a UUIDv7: it says who, never when."""
    from uuid6 import uuid7  # its import costs a third of a server's start

    return str(uuid7())


def title(event: Event) -> str | None:
    """Return the title that a session gets from this event: a user message's first line."""
    if event.type != "user_message":
        return None
    lines = (line.strip() for line in event.data["content"].splitlines())
    line = next(filter(None, lines), None)
    return line and "".join(char if char.isprintable() else " " for char in line[:MAX_TITLE])
