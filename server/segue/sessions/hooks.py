"""Records a conversation while it is had in another program, from what its hooks say.

At a prompt, what the transcript has beyond the last reading is imported, then the prompt is stored:
the model has not answered yet. At the end of the turn the rest is imported. A hook that fails, or
never runs, costs nothing but time: the next one goes on from where the last reading ended.

The prompt is in the transcript, too, under the id of its record there. It is stored once: its event
has the id `prompt/ID`, with the program's own id of the prompt where it has one (Claude Code's
`promptId`; Codex's turn, and the text), and the import recognizes its record by that id, or by the
same text at about the same time, and leaves it out. The store does that in the transaction of the
import and remembers it: see `SessionService.import_session`. So nothing is stored twice by a hook
that runs twice, by an import beside it, or by one that reads the transcript from its beginning
again. What a person adds to a turn of Claude Code comes with the id of the prompt before it: it
gets one of its own, and is recognized by its text, also if the turn ended meanwhile and it begins
the next one, which has another id then.

What hooks record counts as imported: it is another program's conversation. Segue does not resume it
by itself until it was continued here once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from segue.agents.hooks import HookAgent, HookCall
from segue.agents.transcript import Places, session_id, state_of
from segue.model.errors import SessionNotFound
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import Origin, StoredEvent, now
from segue.sessions.importing import Importer, Redact, is_stored, new_session
from segue.sessions.proxied import ProxiedSessions
from segue.store.service import SessionService

_TAIL = 8
"""How many of the last events are looked at for what the same hook has stored before."""


class HookRecorder:
    """Records the calls of one agent's hooks."""

    def __init__(
        self,
        service: SessionService,
        redact: Redact,
        agent: HookAgent,
        source: ModuleType,
        places: Places,
    ) -> None:
        """*source* is the agent's module."""
        self._service = service
        self._redact = redact
        self._agent = agent
        self._source = source
        self._places = places

    async def record(self, call: HookCall) -> str:
        """Store what is new, and return what was done, for a log.

        Raises a StorageError, or ValueError for what the call must not say.
        """
        own_id = session_id(self._source.NAME, call.session_id)
        if call.event in self._agent.end_events and self._agent.writes_within_s:
            await asyncio.sleep(self._agent.writes_within_s)
        # What is said here goes on with what `segue acp` has recorded of it.
        proxied = await ProxiedSessions(self._service, self._source).session_id(own_id)
        own_id = proxied or own_id
        path = call.transcript or self._find_transcript(call.session_id)
        done = "no transcript yet"
        if path is not None and path.exists():
            if not self._source.accepts(path):
                raise ValueError("the transcript is not where this program keeps them")
            done = await self._import(path, await self._states(own_id, path))
        if (
            call.event == self._agent.prompt_event
            and call.prompt is not None
            and not call.prompt.startswith(self._agent.notices)
        ):
            done += ", prompt stored" if await self._store_prompt(call, own_id, path) else ""
        return done

    async def _states(self, own_id: str, path: Path) -> Mapping[str, Any]:
        """Return the state of the conversation's import: that of its session, or of a fork."""
        states = await self._service.import_states(self._source.NAME, own_id)
        if not states and await is_stored(self._service, own_id):
            states = await self._service.import_states(self._source.NAME)
            id, state = state_of(path, states)
            states = {} if id is None else {id: state}
        return states

    def _find_transcript(self, own_id: str) -> Path | None:
        return next((path for path in self._source.find(self._places) if own_id in str(path)), None)

    async def _import(self, path: Path, states: Mapping[str, Any]) -> str:
        importer = Importer(self._service, self._redact)
        report = await importer.run(self._source, [path], lambda _: None, states=states)
        done = f"{report.events} events of the transcript"
        if report.deleted:
            done = "deleted here, left out"
        if report.broken:
            done += f", {len(report.broken)} parts not read"
        return done

    async def _store_prompt(self, call: HookCall, own_id: str, path: Path | None) -> bool:
        id, state = own_id, None
        if path is not None:
            id, state = next(iter((await self._states(own_id, path)).items()), (own_id, None))
        session = await new_session(
            self._source, id, call.session_id if call.session_id != id else None, call.directory
        )
        data: dict[str, Any] = {"content": call.prompt}
        for event_id in (call.prompt_id, call.added_id):
            event = Event.new("user_message", data, id=event_id)
            event = event.with_data(self._redact(data, event.json_text))
            result = await self._service.import_session(
                session,
                [ImportedEvent(event, call.time or now())],
                origin=Origin(client_name=self._source.TITLE),
                state=state,  # a fork that the prompt begins goes on with it
            )
            if result.added:
                return True
            last = await self._last_events(id)
            if any(stored.id == event.id and stored.data == event.data for stored in last):
                return False  # the hook has run twice
        return False

    async def _last_events(self, session_id: str) -> Sequence[StoredEvent]:
        try:
            _, page = await self._service.open_session(session_id, _TAIL)
        except SessionNotFound:
            return ()
        return page.events
