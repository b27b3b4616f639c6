"""Events: the known types, their payloads, and the check that every new event passes.

An event is sent and stored as `(type, data)`; the payload classes define `data` for the known
types. New events are checked strictly (`Event.parse`), stored ones are returned unchanged
(`json_text.decode`). Types and fields of a later version are kept.

`server/DEVELOPMENT.md` lists what to change for a new type.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import attrs

from segue.model import validation
from segue.model.json_text import encode
from segue.model.plain import plain
from segue.model.validation import Fault, InvalidInputError, StringLength

T = TypeVar("T")

Name = Annotated[str, StringLength(128)]
"""An id or a type: 1 to 128 characters."""


@attrs.frozen
class EventType:
    """A known type of events."""

    name: str
    payload: type
    """The class whose fields `data` has."""
    model_visible: bool
    """Whether it is sent to a model. A session without such an event is never resumed."""


EVENT_TYPES: dict[str, EventType] = {}
"""The known event types by name. Others are stored and returned unchanged."""


def event_type(name: str, *, model_visible: bool) -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes an attrs class the payload of an event type."""

    def register(payload: type[T]) -> type[T]:
        EVENT_TYPES[name] = EventType(name, payload, model_visible)
        return payload

    return register


@event_type("user_message", model_visible=True)
@plain
class UserMessage:
    """A message of the person."""

    content: str


@event_type("text", model_visible=True)
@plain
class Text:
    """A message of the model."""

    content: str


@event_type("tool_call", model_visible=True)
@plain
class ToolCall:
    """A tool that the model calls; `input` is any JSON."""

    id: str
    name: str
    input: Any


@event_type("tool_result", model_visible=True)
@plain
class ToolResult:
    """The result of a tool call; `remote` if the model's own service ran it."""

    tool_use_id: str
    content: str
    is_error: bool
    remote: bool = False
    content_length: int | None = None


@event_type("skill_invocation", model_visible=True)
@plain
class SkillInvocation:
    """A skill (a stored prompt) that was invoked."""

    name: str
    arguments: str | None = None
    content: str


@event_type("system_context", model_visible=False)
@plain
class SystemContext:
    """A note of the editor for the model, such as the boundary of a resumed session."""

    content: str


@event_type("out_of_band_output", model_visible=False)
@plain
class OutOfBandOutput:
    """Output that the editor showed to the person and never sent to the model."""

    name: str
    command: str | None = None
    content: str


def model_visible_types() -> list[str]:
    """Return the types of events that are sent to a model."""
    return [name for name, type in EVENT_TYPES.items() if type.model_visible]


def is_model_visible(type: str) -> bool:
    """Return whether events of this *type* are sent to a model; unknown types are not."""
    return type in EVENT_TYPES and EVENT_TYPES[type].model_visible


@event_type("thinking", model_visible=False)
@plain
class Thinking:
    """What the model thought before it answered."""

    content: str


@event_type("plan", model_visible=False)
@plain
class Plan:
    """The plan of an agent; each entry is any JSON."""

    entries: list[Any]


@event_type("permission", model_visible=False)
@plain
class Permission:
    """What an agent asked for permission to do, and the answer."""

    tool_use_id: str
    options: list[Any]
    outcome: str
    option: str | None = None


@event_type("turn_end", model_visible=False)
@plain
class TurnEnd:
    """The end of a turn: why it ended, what it used (any JSON), and the error if it failed."""

    stop_reason: str
    usage: Any = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class NewEvent:
    """An event as a client sends it; without an id it gets one."""

    id: Name | None = None
    type: Name
    data: Any = attrs.field(metadata={"schema": {"type": "object"}})


@attrs.frozen
class _AnyObject:
    """`data` of an unknown type: any JSON object."""


_TYPE_OF = {kind.payload: name for name, kind in EVENT_TYPES.items()}
_converter = validation.make_converter()


@attrs.frozen(kw_only=True)
class Event:
    """One event of a conversation. Make it by `parse`, `new` or `of`, which check it."""

    id: str
    type: str
    data: dict[str, Any] = attrs.field(eq=False)
    json_text: str = attrs.field(metadata={"json": None})
    """`data` as it is stored: ASCII JSON in the key order of `data`."""

    @classmethod
    def parse(cls, value: Any, _: Any = None) -> "Event":
        """Return *value*, `{id?, type, data}`, as a checked event; a structure hook of cattrs.

        Without an id it gets a UUIDv7. Unknown types and fields are kept. Raises InvalidInputError
        with the path of every fault: a missing or wrong field of a known type, or `data` that is
        not a JSON object or that `json_text.encode` refuses.
        """
        faults: list[Fault] = []
        try:
            envelope = validation.structure(_converter, value, NewEvent)
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
        """Return a checked event. Raises InvalidInputError as `parse` does."""
        return cls.parse({"id": id, "type": type, "data": data})

    @classmethod
    def of(cls, payload: Any) -> "Event":
        """Return *payload*, of a class above, as a checked event. Raises as `parse` does."""
        return cls.new(_TYPE_OF[payload.__class__], attrs.asdict(payload))

    def with_data(self, data: dict[str, Any]) -> "Event":
        """Return this event with other *data*, whose fields are not checked again.

        Raises InvalidInputError if `json_text.encode` refuses it.
        """
        return attrs.evolve(self, data=data, json_text=encode("$.data", data))


def _faults_of_data(type: Any, data: Any) -> tuple[Fault, ...]:
    known = EVENT_TYPES.get(type) if isinstance(type, str) else None
    try:
        validation.structure(_converter, data, known.payload if known else _AnyObject)
    except InvalidInputError as error:
        return error.prefixed("$.data").faults
    return ()


def new_id() -> str:
    """Return a new UUIDv7. It only identifies: no order and no time is derived from it."""
    from uuid6 import uuid7  # importing it takes a third of a server's start

    return str(uuid7())


def title(event: Event) -> str | None:
    """Return the title that *event* gives its session, or None.

    `titles.title_of` has the rule. Only a user message has a title.
    """
    if event.type != "user_message":
        return None
    from segue.model.titles import title_of  # only a new conversation needs it

    return title_of(event.data["content"])
