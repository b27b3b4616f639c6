"""`/segue`: a slash command of the proxy, for clients that have no list of conversations."""

from segue.acp import loading, messages
from segue.acp.commands import NAME
from segue.acp.connection import Connection
from segue.acp.conversation import Conversation
from segue.acp.messages import Message
from segue.model.errors import SegueError
from segue.model.records import Session
from segue.sessions.boundary import ago

_SHOWN = 10


async def run(
    connection: Connection, message: Message, conversation: Conversation, words: list[str]
) -> None:
    """Answer a prompt that is this command; the agent does not get it."""
    try:
        text = await _run(connection, conversation, words)
    except (SegueError, TimeoutError) as error:
        text = f"Segue cannot do that now: {error}"
    connection.to_client.insert(
        messages.update(
            conversation.client_id,
            {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}},
        ),
        messages.answer(message, {"stopReason": "end_turn"}),
    )


async def _run(connection: Connection, conversation: Conversation, words: list[str]) -> str:
    if not words or not conversation.listed:
        page = await connection.window.list_sessions(
            conversation.workspace, archived=False, cursor=None, limit=_SHOWN + 1
        )
        others = [each for each in page.sessions if each.id != conversation.session_id]
        conversation.listed = others[:_SHOWN]
    if not conversation.listed:
        return "There is no other conversation of this folder."
    if not words:
        lines = [_line(number, each) for number, each in enumerate(conversation.listed, 1)]
        return "\n".join([*lines, f"\nGo on with one: /{NAME} 1"])
    numbered = {str(number): each for number, each in enumerate(conversation.listed, 1)}
    chosen = numbered.get(" ".join(words))
    if chosen is None:
        return f"There is no number {' '.join(words)} in the list that /{NAME} shows."
    if conversation.recorder.is_prompted:
        return "The turn has not ended. Say it again when it has."
    await loading.switch(connection, conversation, chosen)
    title = chosen.title or "untitled"
    return f"This is the conversation “{title}”. It goes on with your next prompt."


def _line(number: int, session: Session) -> str:
    by = session.shared_by or session.agent or session.source or session.client
    when = ago(session.updated_at)
    return f"{number}. {session.title or 'untitled'} ({by}, {when}, {session.event_count} events)"
