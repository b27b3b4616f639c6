"""`session/list` and `session/delete`: the agent's own conversations and Segue's, as one list."""

import base64
import contextlib
import json
from typing import Any

from segue.acp import messages
from segue.acp.connection import STORE_TIMEOUT_S, Connection, in_time
from segue.acp.conversation import Conversation
from segue.acp.holding import holding_of, sessions_by_agents_ids
from segue.acp.messages import Message
from segue.model.errors import SegueError
from segue.model.records import Session, SessionPage, iso
from segue.model.validation import InvalidInputError

PAGE = 50
"""How many of Segue's sessions a page of the list has. The agent's come on top."""

TIMEOUT_S = 5.0
"""How long the list waits for Segue's sessions, and then for the agent's own."""

_EMPTY = SessionPage(sessions=(), next_cursor=None)


async def list_sessions(connection: Connection, message: Message) -> None:
    """Answer with a page of both lists, newest first. Each is there if the other fails."""
    ours_from, theirs_from = _decode(message.params.get("cursor"))
    ours, theirs = _EMPTY, {}
    if ours_from is not _AT_END:
        ours = await _own_page(connection, message.params.get("cwd"), ours_from)
    if theirs_from is not _AT_END and connection.agent.lists:
        theirs = await _agents_page(connection, message.params, theirs_from)
    shown = {each.id: _entry(each) for each in ours.sessions}
    known = {each.server_session_id for each in ours.sessions}
    by_agents_ids = await _by_agents_ids(connection) if theirs else {}
    entries = theirs.get("sessions")
    for entry in entries if isinstance(entries, list) else ():
        id = entry.get("sessionId") if isinstance(entry, dict) else None
        # One that Segue has is on a page of Segue's.
        if not isinstance(id, str) or id in shown or id in known:
            continue
        if id not in by_agents_ids and await connection.stored(id) is None:
            shown[id] = entry
    sessions = sorted(shown.values(), key=lambda each: str(each.get("updatedAt")), reverse=True)
    next_cursor = _encode(ours.next_cursor, theirs.get("nextCursor"))
    result: dict[str, Any] = {"sessions": sessions}
    if next_cursor is not None:
        result["nextCursor"] = next_cursor
    connection.to_client.insert(messages.answer(message, result))


async def delete(connection: Connection, message: Message, id: str) -> None:
    """Delete a conversation here, and there if the agent has it and can."""
    if (conversation := connection.by_client_id.get(id)) is not None:
        await connection.saver.saved(STORE_TIMEOUT_S)
        conversation.is_muted = True
        connection.forget(conversation)
    session = None
    with contextlib.suppress(SegueError, TimeoutError):
        session = await connection.session_of(id)
    agent_id: str | None = id
    if session is not None:
        held = await holding_of(connection.window, session, connection.agent.family)
        agent_id = None if held is None else held.id
    answer = None
    if connection.agent.deletes and agent_id is not None:
        params = message.params | {"sessionId": agent_id}
        answer = await connection.ask_agent("session/delete", params)
    if session is not None:
        await connection.window.delete(session.id)
    is_refused = session is None and answer is not None and answer.is_error
    connection.to_client.insert(
        messages.answer_as(message, answer)
        if is_refused and answer is not None
        else messages.answer(message, {})
    )


def keep_title(connection: Connection, conversation: Conversation) -> None:
    """Give the session the title that its agent has given it, unless a person gave one."""
    title = conversation.recorder.title
    if title is None or title == conversation.agent_title or conversation.has_title:
        return
    before, conversation.agent_title = conversation.agent_title, title
    connection.spawn(_set_title(connection, conversation, before, title))


async def _set_title(
    connection: Connection, conversation: Conversation, before: str | None, title: str
) -> None:
    await connection.saver.saved(STORE_TIMEOUT_S)
    session = await connection.stored(conversation.session_id)
    is_persons = before is not None and session is not None and session.title != before
    if session is None or is_persons:
        return
    try:
        await connection.window.set_title(conversation.session_id, title[:200])
    except (SegueError, InvalidInputError):
        return


async def _own_page(connection: Connection, cwd: object, cursor: str | None) -> SessionPage:
    workspace = await connection.workspace(cwd) if isinstance(cwd, str) else None
    page = connection.window.list_sessions(workspace, archived=False, cursor=cursor, limit=PAGE)
    try:
        return await in_time(page, TIMEOUT_S)
    except (SegueError, InvalidInputError, TimeoutError):
        return _EMPTY


async def _by_agents_ids(connection: Connection) -> dict[str, str]:
    found = sessions_by_agents_ids(connection.window, connection.agent.family)
    with contextlib.suppress(SegueError, TimeoutError):
        return await in_time(found, STORE_TIMEOUT_S)
    return {}


async def _agents_page(
    connection: Connection, params: dict[str, Any], cursor: str | None
) -> dict[str, Any]:
    own = {key: value for key, value in params.items() if key != "cursor"}
    if cursor is not None:
        own["cursor"] = cursor
    try:
        answer = await connection.ask_agent("session/list", own, TIMEOUT_S)
    except (TimeoutError, ConnectionError):
        return {}
    return answer.result


def _entry(session: Session) -> dict[str, Any]:
    prompted_at = session.last_prompt_at
    known = {
        "agent": session.agent or session.source,
        "model": session.model,
        "branch": session.branch,
        "sharedBy": session.shared_by,
        "lastPromptAt": None if prompted_at is None else iso(prompted_at),
    }
    entry: dict[str, Any] = {
        "sessionId": session.id,
        "cwd": session.directory,
        "updatedAt": iso(session.updated_at),
        "_meta": {"segue": known},
    }
    if session.title is not None:
        entry["title"] = session.title
    return entry


_AT_END = "at its end"


def _encode(ours: str | None, theirs: object) -> str | None:
    """Return a cursor of both lists, None if both are at their end."""
    theirs = theirs if isinstance(theirs, str) else None
    if ours is None and theirs is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([ours, theirs]).encode()).decode()


def _decode(cursor: object) -> tuple[str | None, str | None]:
    """Return where both lists go on: None for the beginning. A cursor of nobody is none."""
    if not isinstance(cursor, str):
        return None, None
    try:
        ours, theirs = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError, RecursionError):
        return None, None
    return ours or _AT_END, theirs or _AT_END
