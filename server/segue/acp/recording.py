"""What an agent and its client say to each other, as events to be stored."""

import math
from collections.abc import Iterable
from typing import Any

import attrs

from segue.acp.content import merge_texts, text_of_block
from segue.acp.message_pieces import MessagePieces
from segue.acp.sizes import MAX_EVENT, fitted, omitted, without_blobs
from segue.acp.tool_calls import Terminals, ToolCall, call_id
from segue.model.events import Event, new_id
from segue.model.json_text import MAX_DEPTH, depth
from segue.model.told_history import is_told, strip
from segue.model.validation import InvalidInputError

MAX_UNKNOWN = 200
"""How many updates of unknown kinds are kept of one turn."""

MAX_UNKNOWN_BYTES = 64 * 1024
"""Of a larger one only size and hash are kept."""

_CHUNKS = {"agent_message_chunk": "text", "agent_thought_chunk": "thinking"}
STATE_UPDATES = frozenset(
    {
        "usage_update",
        "session_info_update",
        "current_mode_update",
        "config_option_update",
        "available_commands_update",
    }
)
"""Updates that tell the state of the session: nothing is said by them."""

_DEEPEST = MAX_DEPTH - 16
"""How deep a message may nest: the data of its event nests deeper."""

_MAX_STATEMENT = 1_000
_MAX_ID = 1_024
_MAX_CALLS = 1_000
_MAX_OPTIONS = 100


@attrs.define
class _Message:
    """A message that is being said; `given` is the agent's id of it, if it has one."""

    type: str
    given: str | None
    id: str | None
    """The id in its events; a message that is one event needs none."""
    pieces: MessagePieces = attrs.field(factory=MessagePieces)


class Recorder:
    """Makes the events of one session out of the messages of its agent and its client.

    Each method returns the events that are complete by what it is given, in their order: they are
    to be stored at once. Nothing that is given raises: what has no meaning here is kept as
    `acp/NAME` or ignored, and what cannot be stored is counted. Times are seconds of any clock.
    """

    def __init__(self, *, is_replay: bool = False) -> None:
        """Record what is said; of a replay, the user's messages are as if the client sent them."""
        self.title: str | None = None
        """The title that the agent has given the session last, if any."""
        self.refused = 0
        """How many updates and events could not be kept, or not whole."""
        self._is_replay = is_replay
        self.is_prompted = False
        """Whether there is a prompt that is not answered yet."""
        self._message: _Message | None = None
        self._user_blocks: list[Any] = []
        self._user_message_id: str | None = None
        self._user_size = 0
        self._calls: dict[str, ToolCall] = {}
        """Those that have not ended."""
        self._unrecorded: dict[str, ToolCall] = {}
        self._ended: dict[str, None] = {}
        """The ids of the last calls that have ended."""
        self._terminals = Terminals()
        self._plan: list[Any] | None = None
        self._context: dict[str, Any] | None = None
        self._unknown = 0

    @property
    def next_due(self) -> float | None:
        """The time at which `due` has to be called; None: not before something is said."""
        return None if self._message is None else self._message.pieces.due

    def due(self, time: float) -> list[Event]:
        """Return what of a message has been waiting for too long at *time*."""
        if self._message is None or (due := self.next_due) is None or due > time:
            return []
        return self._pieces(self._message, [self._message.pieces.take_lines()])

    def prompt(self, params: Any) -> list[Event]:
        """Return the events of a `session/prompt` with *params*: what the user says."""
        events = self.flush()
        self.is_prompted = True
        self._unknown = 0
        blocks = params.get("prompt") if isinstance(params, dict) else None
        if isinstance(blocks, list):
            return events + self._user_message(merge_texts(blocks, "\n"))
        return events + self._keep("prompt", params)

    def update(self, update: Any, time: float) -> list[Event]:
        """Return the events of a `session/update` with this *update*, which came at *time*."""
        if not isinstance(update, dict):
            self.refused += 1
            return []
        match update.get("sessionUpdate"):
            case "agent_message_chunk" | "agent_thought_chunk" as kind:
                return self._chunk(kind, update, time)
            case "user_message_chunk":
                return self._user_chunk(update)
            case _ if depth(update) > _DEEPEST:  # not of chunks, of which there are many
                self.refused += 1
                return []
            case "tool_call" | "tool_call_update" as kind if (id := call_id(update)) is not None:
                return self._tool_call(kind, id, update)
            case "plan" if isinstance(entries := update.get("entries"), list):
                self._plan = entries
                return self._finish()
            case str(kind) if kind in STATE_UPDATES:
                self._note_state(kind, update)
                return []
            case kind:
                return self._finish() + self._keep(kind, update)

    def permission_request(self, params: Any) -> list[Event]:
        """Return the events of a `session/request_permission` that is not answered yet."""
        events = self._finish_messages()
        call = params.get("toolCall") if isinstance(params, dict) else None
        id = call_id(call)
        is_usable = id is not None and id not in self._ended and depth(call) <= _DEEPEST
        if id is not None and call is not None and is_usable:
            self._call(id).merge(call, is_question=True)
        return events + self._record_calls()

    def permission(self, params: Any, result: Any) -> list[Event]:
        """Return the events of the answer to a `session/request_permission`.

        *result* is None if the answer was an error.
        """
        events = self.permission_request(params)
        id = call_id(params.get("toolCall")) if isinstance(params, dict) else None
        if id is None:
            return events + self._keep("request_permission", params)
        outcome = result.get("outcome") if isinstance(result, dict) else None
        answer = outcome if isinstance(outcome, dict) else {}
        options = params.get("options")
        data = {
            "tool_use_id": id,
            "options": options[:_MAX_OPTIONS] if isinstance(options, list) else [],
            "outcome": _statement(answer.get("outcome")) or "error",
            "option": _statement(answer.get("optionId")),
        }
        return events + self._event("permission", data)

    def terminal_output(self, params: Any, result: Any) -> None:
        """Take the client's *result* of a `terminal/output`; the agent may not repeat it."""
        self._terminals.merge(params, result)

    def turn_end(self, result: Any, error: Any = None) -> list[Event]:
        """Return the events of the answer to a `session/prompt`: its *result*, or its *error*."""
        events = self.flush()
        self.is_prompted = False
        answer = result if isinstance(result, dict) else {}
        data: dict[str, Any] = {"stop_reason": _statement(answer.get("stopReason")) or "unknown"}
        if answer.get("usage") is not None:
            data["usage"] = answer["usage"]
        if self._context is not None:
            data["context"] = self._context
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else error
            data["stop_reason"] = "error"
            data["error"] = _statement(message) or "unknown"
            data["acp"] = {"error": error}
        return events + self._event("turn_end", data)

    def flush(self) -> list[Event]:
        """Return all that was said and is not recorded yet, as far as it came."""
        events = self._finish()
        if self._plan is not None:
            events += self._event("plan", {"entries": self._plan})
            self._plan = None
        return events

    def _chunk(self, kind: str, update: dict[str, Any], time: float) -> list[Event]:
        block: Any = update.get("content")
        text = text_of_block(block)
        if text is None:
            return self._finish() + self._keep(kind, update)
        if not text:
            return []
        type, id = _CHUNKS[kind], _message_id(update)
        events = self._finish_user_message() + self._record_calls()
        if self._message is not None and (self._message.type, self._message.given) != (type, id):
            events += self._finish_message()
        if self._message is None:
            self._message = _Message(type, id, id)
        pieces = self._message.pieces
        if block["type"] == "text":
            return events + self._pieces(self._message, pieces.add(text, time))
        events += self._pieces(self._message, [pieces.take_rest()])
        acp = {"acp": {"content": without_blobs(block)}}
        return events + self._pieces(self._message, [text], acp)

    def _pieces(
        self, message: _Message, texts: list[str], more: dict[str, Any] | None = None
    ) -> list[Event]:
        """Return the events of pieces that others may follow."""
        if any(texts) and message.id is None:
            message.id = new_id()
        events = []
        for text in filter(None, texts):
            data = {"content": text, "message": message.id} | (more or {})
            events += self._event(message.type, data)
        return events

    def _finish(self) -> list[Event]:
        return self._finish_messages() + self._record_calls()

    def _finish_messages(self) -> list[Event]:
        return self._finish_user_message() + self._finish_message()

    def _finish_message(self) -> list[Event]:
        message, self._message = self._message, None
        rest = "" if message is None else message.pieces.take_rest()
        if message is None or not rest:
            return []
        id = {} if message.id is None else {"message": message.id}
        return self._event(message.type, {"content": rest} | id)

    def _user_chunk(self, update: dict[str, Any]) -> list[Event]:
        if self.is_prompted:  # it repeats the prompt
            return []
        block, id = update.get("content"), _message_id(update)
        text = text_of_block(block)
        if text is None:
            return self._finish() + self._keep("user_message_chunk", update)
        events = self._finish_message() + self._record_calls()
        if id != self._user_message_id or self._user_size > MAX_EVENT:
            events += self._finish_user_message()
        if text:
            self._user_blocks.append(block)
            self._user_message_id = id
            self._user_size += len(text)
        return events

    def _finish_user_message(self) -> list[Event]:
        if not self._user_blocks:
            return []
        blocks, self._user_blocks, self._user_size = self._user_blocks, [], 0
        said = []
        for block in merge_texts(blocks, ""):
            text = strip(block["text"]) if block["type"] == "text" else None
            if text != "":
                said.append(block if text is None else {"type": "text", "text": text})
        return self._user_message(said, {} if self._is_replay else {"by": "agent"}) if said else []

    def _user_message(
        self, blocks: list[dict[str, Any]], acp: dict[str, Any] | None = None
    ) -> list[Event]:
        """Return the message that has *blocks*, in which no texts follow each other."""
        said = [block for block in blocks if depth(block) <= _DEEPEST]
        self.refused += len(blocks) - len(said)
        more = dict(acp or {})
        if any(block["type"] != "text" for block in said):
            more["prompt"] = without_blobs(said)
        data: dict[str, Any] = {"content": "".join(text_of_block(block) or "" for block in said)}
        return self._event("user_message", data | ({"acp": more} if more else {}))

    def _tool_call(self, kind: str, id: str, update: dict[str, Any]) -> list[Event]:
        if id in self._ended:
            if kind == "tool_call_update":  # it has its result; what follows is kept beside that
                has_said = update.keys() & {
                    "title",
                    "content",
                    "locations",
                    "rawInput",
                    "rawOutput",
                }
                return self._finish() + self._keep(kind, update) if has_said else []
            del self._ended[id]
        call = self._call(id)
        call.merge(update)
        if call.is_recorded and not call.has_ended:
            return []
        events = self._finish_messages()
        if call.has_begun or len(self._unrecorded) > _MAX_CALLS // 2:
            events += self._record_calls(until=id)
        if call.has_ended:
            events += self._event("tool_result", call.record_result(self._terminals.outputs))
            del self._calls[id]
            _add_to_newest(self._ended, id, None)
        return events

    def _call(self, id: str) -> ToolCall:
        if id not in self._calls:
            call = self._unrecorded[id] = ToolCall(id)
            _add_to_newest(self._calls, id, call)
        return self._calls[id]

    def _record_calls(self, until: str | None = None) -> list[Event]:
        """Return the calls that are not recorded, in their order; *until*: as far as that one."""
        events = []
        while self._unrecorded and (until is None or until in self._unrecorded):
            call = self._unrecorded.pop(next(iter(self._unrecorded)))
            events += self._event("tool_call", call.record_call())
        return events

    def _note_state(self, kind: str, update: dict[str, Any]) -> None:
        if kind == "session_info_update" and isinstance(title := update.get("title"), str):
            if not is_told(title):
                self.title = title
        elif kind == "usage_update":
            told = {key: each for key, each in update.items() if key in ("used", "size", "cost")}
            self._context = told if len(str(told)) <= _MAX_STATEMENT else None

    def _keep(self, kind: Any, value: Any) -> list[Event]:
        """Return *value*, which has no other meaning here, as an event of its own type."""
        self._unknown += 1
        if self._unknown > MAX_UNKNOWN:
            self.refused += 1
            return []
        name = kind if isinstance(kind, str) and 0 < len(kind) <= 100 else "unknown"
        type = f"acp/{name.encode(errors='replace').decode()}"
        events = self._event(type, value if isinstance(value, dict) else {"value": value})
        if events and len(events[0].json_text) > MAX_UNKNOWN_BYTES:
            return self._event(type, omitted(events[0].json_text))
        return events

    def _event(self, type: str, data: dict[str, Any]) -> list[Event]:
        """Return an event with as much of *data* as can be stored, or none; both are counted."""
        for attempt in (data, _without_acp(data), _scalars(data)):
            try:
                event = Event.new(type, attempt)
            except InvalidInputError:
                self.refused += attempt is data
                continue
            if len(event.json_text) > MAX_EVENT and not type.startswith("acp/"):
                event = Event.new(type, fitted(attempt, len(event.json_text)), event.id)
            return [event]
        return []


def read_replay(updates: Iterable[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a conversation that an agent replays in `session/load`, as types and data of events.

    What `History` once put before the words of the user is left out.
    """
    recorder = Recorder(is_replay=True)
    events = [event for update in updates for event in recorder.update(update, 0.0)]
    return [(event.type, event.data) for event in events + recorder.flush()]


def _message_id(update: dict[str, Any]) -> str | None:
    id = update.get("messageId")
    return id if isinstance(id, str) and 0 < len(id) <= _MAX_ID else None


def _statement(value: Any) -> str | None:
    return value[:_MAX_STATEMENT] if isinstance(value, str) and value else None


def _add_to_newest(values: dict[str, Any], key: str, value: Any) -> None:
    """Add to *values*, which keep only the newest _MAX_CALLS."""
    values[key] = value
    if len(values) > _MAX_CALLS:
        del values[next(iter(values))]


def _without_acp(data: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in data.items() if key != "acp"}


def _scalars(data: dict[str, Any]) -> dict[str, Any]:
    """Return *data* without what nests: that, or a number in it, was refused."""
    simple: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, list):
            simple[key] = []
        elif isinstance(value, str | bool) or value is None:
            simple[key] = value
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            simple[key] = value if abs(value) < 2**63 else None
        elif key == "input":
            simple[key] = None
    return simple
