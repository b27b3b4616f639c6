"""Appends events: the parameters of the call, and its outcome."""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from segue.model.errors import EventConflict, HeadMoved, SessionNotFound
from segue.model.events import Event, is_model_visible, title
from segue.model.json_text import same_json
from segue.model.records import AppendResult, EventPosition, Origin
from segue.store.postgres import codec
from segue.store.postgres.codec import Parameter
from segue.store.postgres.sharing import refusal
from segue.store.postgres.wire import Connection

_APPEND = """
SELECT * FROM segue_1.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
    $17)
"""


@attrs.define
class Batch:
    """Events to be stored, each id once, behind the boundary if there is one."""

    events: list[Event]
    boundary: bool
    """Whether the first event is the boundary."""
    stored_as: dict[str, str] = attrs.field(factory=dict)
    """By ids, the text that is stored already and has the same value."""

    @classmethod
    def of(cls, events: Iterable[Event], boundary: Event | None = None) -> "Batch":
        """Return the batch of *events*; raise EventConflict for one id with two contents."""
        distinct: dict[str, Event] = {}
        for event in events:
            known = distinct.setdefault(event.id, event)
            if known is not event and not _is_same(event, known.type, known.json_text):
                raise EventConflict(event.id)
        is_first = boundary is not None and bool(distinct) and boundary.id not in distinct
        first = [boundary] if boundary is not None and is_first else []
        return cls([*first, *distinct.values()], is_first)

    def contents(self) -> tuple[Parameter, ...]:
        """Return the ids, the types and the data."""
        return (
            codec.ids([event.id for event in self.events]),
            codec.texts([event.type for event in self.events]),
            codec.stored_texts(
                [self.stored_as.get(event.id, event.json_text) for event in self.events]
            ),
        )

    def accept(self, event_id: str, type: str, json_text: str) -> None:
        """Take what is stored instead of the event, or raise EventConflict if that differs."""
        event = next(event for event in self.events if event.id == event_id)
        if not _is_same(event, type, json_text):
            raise EventConflict(event_id)
        self.stored_as[event_id] = json_text


def highlights(events: Sequence[Event]) -> tuple[Parameter, Parameter, Parameter]:
    """Return the first title of *events*, and the places of it and of what a model is sent first.

    Places are counted from 1.
    """
    titles = ((title(event), place) for place, event in enumerate(events, 1))
    text, title_place = next((each for each in titles if each[0] is not None), (None, None))
    visible = (place for place, event in enumerate(events, 1) if is_model_visible(event.type))
    return codec.text(text), codec.int4(title_place), codec.int4(next(visible, None))


def who(origin: Origin) -> tuple[Parameter, ...]:
    """Return the client and its version, the agent, the model and the branch."""
    fields = (
        origin.client_name, origin.client_version, origin.agent, origin.model, origin.branch,
    )  # fmt: skip
    return tuple(codec.text(each or None) for each in fields)


async def append(
    connection: Connection,
    account: int,
    session_id: str,
    events: Sequence[Event],
    batch: Batch,
    *,
    parent_id: str | None,
    invocation_id: str,
    accept_own_head: bool,
    origin: Origin,
) -> AppendResult:
    """Append the batch of *events*, as `SessionService.append_events` promises."""
    parameters = (
        codec.int8(account),
        codec.id(session_id),
        codec.id(invocation_id),
        codec.id(parent_id),
        codec.boolean(accept_own_head),
    )
    rest = (codec.boolean(batch.boundary), *highlights(batch.events), *who(origin))
    while True:
        rows = await connection.call(_APPEND, *parameters, *batch.contents(), *rest)
        if rows[0][0] == "absent":
            raise await refusal(connection, account, session_id)
        if (result := outcome(rows, session_id, events, batch)) is not None:
            return result


def outcome(
    rows: Sequence[Sequence[Any]], session_id: str, events: Sequence[Event], batch: Batch
) -> AppendResult | None:
    """Return what an append came to, or None if *batch* has to be sent again.

    Raises SessionNotFound, HeadMoved and EventConflict.
    """
    kind, stored_head, count, added, seqs, *_ = rows[0]
    if kind == "absent":
        raise SessionNotFound(session_id)
    head = None if stored_head is None else codec.unpack(stored_head)
    if kind == "head_moved":
        raise HeadMoved(head, count)
    if kind == "differs":
        for *_, event_id, type, json_text in rows:
            batch.accept(codec.unpack(event_id), codec.unescape(type), json_text)
        return None
    if kind == "all":
        seqs = range(count - added + 1, count + 1)
    by_id = {event.id: seq for event, seq in zip(batch.events, seqs or (), strict=True)}
    own = batch.events[1:] if batch.boundary else batch.events
    new = sum(by_id[event.id] > count - added for event in own)
    return AppendResult(
        head=head,
        event_count=count,
        events=[EventPosition(event.id, by_id[event.id]) for event in events],
        duplicates=len(events) - new,
    )


def _is_same(event: Event, type: str, json_text: str) -> bool:
    return event.type == type and same_json(event.json_text, json_text)
