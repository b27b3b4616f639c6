"""Exports sessions: reads the events of a store and renders them in a format, page by page."""

import asyncio
import base64
import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import attrs

from segue import exporting
from segue.exporting.blocks import Block
from segue.model.records import MAX_PAGE, MAX_PAGE_BYTES, ExportPage, Session, StoredEvent
from segue.model.validation import Fault, InvalidInputError
from segue.store.service import SessionService

T = TypeVar("T")

Chooses = Callable[[StoredEvent], bool]
"""Returns whether an event is exported."""

_MAX_NUMBER = 0xFFFFFFFF
_PIECE = 16_384
"""A text that does not fit a page is cut after so many characters, or a multiple of them."""


def everything(event: StoredEvent) -> bool:
    """Choose every event."""
    return True


@attrs.frozen
class Cursor:
    """Where a page of an export begins.

    It makes the page anew from the store: the server keeps nothing between two pages.
    """

    until: int
    """The seq of the last event that is exported: what is appended meanwhile is not."""
    after: int = 0
    """The seq of the event before the first block of the page."""
    offset: int = 0
    """How many characters of that block's text are on the pages before."""
    previous: str = ""
    """What the format passes from block to block."""

    def encode(self) -> str:
        """Return the cursor as clients see it."""
        return base64.urlsafe_b64encode(json.dumps(attrs.astuple(self)).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Return the cursor that `encode` made *text* of; raise InvalidInputError for any other."""
        try:
            values = json.loads(base64.urlsafe_b64decode(text.encode()))
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, list) and [*map(type, values)] == [int, int, int, str]:
            until, after, offset, previous = values
            if all(0 <= each <= _MAX_NUMBER for each in (until, after, offset)):
                return cls(until, after, offset, previous)
        raise InvalidInputError(Fault("$.cursor", "is not one that session/export returned"))


async def export_page(
    service: SessionService, session: Session, format: str, given: str | None
) -> ExportPage:
    """Return the page at the cursor *given*, the first one without; at most MAX_PAGE_BYTES.

    Its size is that of its JSON.
    """
    module = exporting.load(format)
    cursor = Cursor(session.event_count) if given is None else Cursor.decode(given)
    page = _Page(module.begin(session) if given is None else "")
    rest: Cursor | None = None
    async for text in _texts(service, session.id, module, cursor, everything):
        end = page.add(text.content, cursor.offset)
        if end < len(text.content):
            rest = Cursor(cursor.until, text.after, end, text.previous)
            break
        cursor = attrs.evolve(cursor, after=text.last, offset=0, previous=text.next_previous)
    if rest is None:
        page.content.append(module.end(cursor.previous))
    return ExportPage(
        content="".join(page.content),
        next_cursor=None if rest is None else rest.encode(),
        media_type=module.MEDIA_TYPE,
        file_name=exporting.file_name(session, module),
    )


async def export(
    service: SessionService,
    session: Session,
    format: str,
    *,
    turns: int | None = None,
    chooses: Chooses = everything,
) -> AsyncIterator[str]:
    """Yield the pieces of a session as a file: all, or its last *turns*, of what is chosen.

    A turn begins with a message of the person.
    """
    module = exporting.load(format)
    after = 0 if turns is None else await _before_turns(service, session, turns)
    cursor = Cursor(session.event_count, after)
    previous = ""
    yield module.begin(session)
    async for text in _texts(service, session.id, module, cursor, chooses):
        yield text.content
        previous = text.next_previous
    yield module.end(previous)


async def _before_turns(service: SessionService, session: Session, turns: int) -> int:
    """Return the seq of the event before the last *turns* turns."""
    before = session.event_count + 1
    while before > 1:
        page = await service.load_events(session.id, before=before, limit=MAX_PAGE)
        for event in reversed(page.events):
            turns -= event.type == "user_message"
            if not turns:
                return event.seq - 1
        before = page.events[0].seq if page.events else 1
    return 0


@attrs.frozen
class _Text:
    """A rendered block: between which seqs it lies, and what the format passed to it and on."""

    content: str
    after: int
    last: int
    previous: str
    next_previous: str


class _Page:
    def __init__(self, beginning: str) -> None:
        self.content = [beginning] if beginning else []
        self._size = len(json.dumps(beginning))

    def add(self, text: str, begin: int = 0) -> int:
        """Add what fits of *text* from *begin* on; return where that ends."""
        while begin < len(text):
            piece = text[begin : begin + _PIECE]
            size = len(json.dumps(piece))
            if self._size + size > MAX_PAGE_BYTES and self.content:
                break
            self.content.append(piece)
            self._size += size
            begin += len(piece)
        return begin


async def _texts(
    service: SessionService,
    session_id: str,
    format: ModuleType,
    cursor: Cursor,
    chooses: Chooses,
) -> AsyncIterator[_Text]:
    """Yield the rendered blocks from the cursor on."""
    after, previous = cursor.after, cursor.previous
    read = after
    pending: Block | None = None
    while read < cursor.until:
        page = await service.load_events(session_id, after=read, limit=MAX_PAGE)
        if not page.events:
            break
        read = page.events[-1].seq
        invocations = {each.id: each for each in page.invocations}
        blocks = [] if pending is None else [pending]
        for event in page.events:
            if event.seq > cursor.until:
                break
            if not chooses(event):
                continue
            if blocks and format.continues(blocks[-1], event):
                blocks[-1].add(event)
            else:
                blocks.append(Block([event], invocations))
        # The next page may continue the last one.
        pending = blocks.pop() if read < cursor.until and blocks else None
        work = functools.partial(_render, format, blocks, after, previous)
        for text in await _on_thread(work):
            yield text
            after, previous = text.last, text.next_previous
    if pending is not None:
        work = functools.partial(_render, format, [pending], after, previous)
        for text in await _on_thread(work):
            yield text


def _render(format: ModuleType, blocks: Sequence[Block], after: int, previous: str) -> list[_Text]:
    texts = []
    for block in blocks:
        content, following = format.render(block, previous)
        last = block.events[-1].seq
        texts.append(_Text(content, after, last, previous, following))
        after, previous = last, following
    return texts


async def _on_thread(work: Callable[[], T]) -> T:
    """Return what *work* returns on a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # raised again where the result is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(finish, result, error)
        except RuntimeError:  # the loop has ended meanwhile
            return

    threading.Thread(target=run, name="segue-export", daemon=True).start()
    return await future
