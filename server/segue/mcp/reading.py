"""The tool `read_conversation`: a part of a conversation, within a budget."""

from collections.abc import AsyncIterator, Sequence

import attrs

from segue.exporting import shown_time
from segue.mcp.arguments import CHARS_PER_TOKEN, ReadArguments, ToolFault
from segue.mcp.marking import FRAME, Cleaner, marked
from segue.mcp.scope import Scope
from segue.model.event_text import event_text
from segue.model.pieces import IN_PIECES, continues_message
from segue.model.records import PAGE, Session, StoredEvent
from segue.store.service import SessionService

QUIET = frozenset({"thinking", "system_context", "permission", "turn_end"})
"""The types of events that are only shown if they are asked for: nobody said them to anybody."""

_NOTES = 400
"""What is reserved for notes, in characters."""

_MAX_CANDIDATES = 10


@attrs.frozen
class Message:
    """An event, or the pieces of a message, which are one text."""

    events: Sequence[StoredEvent]

    @property
    def first(self) -> int:
        """The seq of its first event."""
        return self.events[0].seq

    @property
    def last(self) -> int:
        """The seq of its last event."""
        return self.events[-1].seq

    @property
    def type(self) -> str:
        """The type of its events."""
        return self.events[0].type

    def masked(self, cleaner: Cleaner) -> StoredEvent:
        """Return it as one event with its secrets masked, also one that two pieces have."""
        event = self.events[0]
        data = event.data
        if len(self.events) > 1:
            data = {**data, "content": "".join(each.data["content"] for each in self.events)}
        return attrs.evolve(event, data=cleaner.data(data))


def line_of(session: Session, cleaner: Cleaner) -> str:
    """Return what identifies a conversation, on two lines."""
    archived = " (archived)" if session.archived_at is not None else ""
    facts = (
        session.id,
        f"{shown_time(session.updated_at)} UTC",
        f"{session.event_count:,} events",
        session.agent or session.source or session.client,
        session.place,
        None if session.shared_by is None else f"shared by {session.shared_by}",
    )
    title = cleaner.line(session.title or "") or "(no title)"
    return f"{title}{archived}\n" + " · ".join(cleaner.line(each) for each in facts if each)


async def read_conversation(scope: Scope, cleaner: Cleaner, arguments: ReadArguments) -> str:
    """Return a part of a conversation as marked text, and how to go on."""
    if arguments.after is not None and arguments.around is not None:
        raise ToolFault("Give either after or around.")
    service = scope.service
    session = await _find(scope, cleaner, arguments.id)
    total = session.event_count
    head = line_of(session, cleaner)
    budget = arguments.max_tokens * CHARS_PER_TOKEN
    part = _Part(cleaner, budget - FRAME - _NOTES - len(head) - 1, budget // 4)
    if arguments.around is None:
        after = arguments.after or 0
        if after >= total:
            return marked(head, f"nothing comes after event {after}: there are {total}")
        begin = await _beginning(service, session.id, after + 1)
        await part.extend(_messages(service, session.id, begin - 1))
    else:
        if arguments.around > total:
            raise ToolFault(f"There is no event {arguments.around}: the conversation has {total}.")
        begin = await _beginning(service, session.id, arguments.around)
        messages = _messages(service, session.id, begin - 1)
        part.add(await anext(messages), most=budget // 2, is_wanted=True)
        await part.prepend(service, session.id, begin)
        await part.extend(messages)
    return marked(f"{head}\n{part.text}", *part.notes(total))


async def message_at(service: SessionService, session_id: str, seq: int) -> Message:
    """Return the message that the event *seq* of a session belongs to."""
    begin = await _beginning(service, session_id, seq)
    return await anext(_messages(service, session_id, begin - 1))


class _Part:
    """The messages that are shown, of at most *room* characters, and of *most* each."""

    def __init__(self, cleaner: Cleaner, room: int, most: int) -> None:
        self._cleaner = cleaner
        self._room = room
        self._most = most
        self._texts: list[str] = []
        self._first = self._last = 0
        self._is_full = False

    @property
    def text(self) -> str:
        """The messages that are shown."""
        return "".join(self._texts)

    def notes(self, total: int) -> list[str]:
        """Return how to go on, in a conversation of *total* events."""
        before = f"; around={self._first - 1} shows what is before" if self._first > 1 else ""
        if not self._is_full:
            return [f"this is the end of the {total:,} events{before}"]
        shown = f"events {self._first} to {self._last} of {total}"
        return [f"these are {shown}; after={self._last} goes on{before}"]

    def add(self, message: Message, most: int = 0, *, is_wanted: bool = False) -> bool:
        """Add the next message; return whether there was room. A quiet one takes none."""
        if message.type not in QUIET or is_wanted:
            text = self._rendered(message, most or self._most)
            if len(text) > self._room:
                self._is_full = True
                return False
            self._texts.append(text)
            self._room -= len(text)
        self._first = self._first or message.first
        self._last = message.last
        return True

    async def extend(self, messages: AsyncIterator[Message]) -> None:
        """Add messages as long as there is room."""
        async for message in messages:
            if not self.add(message):
                return

    async def prepend(self, service: SessionService, session_id: str, seq: int) -> None:
        """Put what is before the event *seq* before the rest, for a third of the room."""
        page = await service.load_events(session_id, before=seq, limit=PAGE)
        messages = _grouped(page.events)
        if messages and page.has_more and messages[0].type in IN_PIECES:
            del messages[0]  # its first pieces may be missing
        left = self._room // 3
        for message in reversed(messages):
            if message.type not in QUIET:
                text = self._rendered(message, self._most)
                left -= len(text)
                if left < 0:
                    return
                self._texts.insert(0, text)
                self._room -= len(text)
            self._first = message.first

    def _rendered(self, message: Message, most: int) -> str:
        event = message.masked(self._cleaner)
        seqs = f"{message.first}-{message.last}" if len(message.events) > 1 else message.first
        text = self._cleaner.text(event_text(event)).strip()
        type = self._cleaner.line(event.type)
        return f"\n#{seqs} {type} {shown_time(event.created_at)}\n{_cut(text, most)}\n"


def _cut(text: str, most: int) -> str:
    """Return *text*, without its middle if it is longer than *most*."""
    if len(text) <= most:
        return text
    kept = max(0, most - 60)
    end = kept // 2
    left_out = f"\n[… {len(text) - kept:,} characters are left out here …]\n"
    return text[: kept - end] + left_out + text[len(text) - end :]


async def _messages(service: SessionService, session_id: str, after: int) -> AsyncIterator[Message]:
    """Yield the messages behind the event *after*, whose first pieces are not before it."""
    pieces: list[StoredEvent] = []
    more = True
    while more:
        page = await service.load_events(session_id, after=after, limit=PAGE)
        for event in page.events:
            if pieces and not continues_message(pieces[-1], event):
                yield Message(pieces)
                pieces = []
            pieces.append(event)
            after = event.seq
        more = page.has_more and bool(page.events)
    if pieces:
        yield Message(pieces)


def _grouped(events: Sequence[StoredEvent]) -> list[Message]:
    groups: list[list[StoredEvent]] = []
    for event in events:
        if groups and continues_message(groups[-1][-1], event):
            groups[-1].append(event)
        else:
            groups.append([event])
    return [Message(each) for each in groups]


async def _beginning(service: SessionService, session_id: str, seq: int) -> int:
    """Return the seq of the first piece of the message that the event *seq* belongs to.

    Masking a piece alone would miss a secret that begins in the one before it.
    """
    page = await service.load_events(session_id, before=seq + 1, limit=PAGE)
    return _grouped(page.events)[-1].first


async def _find(scope: Scope, cleaner: Cleaner, given: str) -> Session:
    """Return the session that *given* names among those that are shown; raise ToolFault."""
    found = list(await scope.service.find_sessions(given, limit=_MAX_CANDIDATES * 10))
    if found and found[0].id == given:  # in their order the id itself is the first
        del found[1:]
    shown = await scope.shown(found)
    if len(shown) == 1:
        return shown[0]
    if shown:
        lines = "\n".join(line_of(each, cleaner) for each in shown[:_MAX_CANDIDATES])
        raise ToolFault(marked(lines, "several ids begin so; give more of the id"))
    if found:
        raise ToolFault(
            "No conversation of this workspace has this id, but one of another workspace has: ask "
            "with everywhere=true if the user wants that one."
        )
    raise ToolFault(
        "No conversation has an id that begins so. list_conversations and search_conversations "
        "name the ids that there are."
    )
