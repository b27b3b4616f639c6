"""The slash commands that a client sees: the agent's, and `/segue`."""

from typing import Any

from segue.acp import messages
from segue.acp.conversation import Conversation
from segue.acp.messages import Message

NAME = "segue"
"""The command of the proxy itself."""

_COMMAND = {
    "name": NAME,
    "description": "List earlier conversations of this folder, and go on with one",
    "input": {"hint": "the number of one"},
}


def words_of(params: dict[str, Any]) -> list[str] | None:
    """Return the words behind `/segue`, None if a prompt is something else."""
    match params.get("prompt"):
        case [{"type": "text", "text": str(text)}, *_] if text.split()[:1] == [f"/{NAME}"]:
            return text.split()[1:]
    return None


def commands_in(message: Message) -> list[object] | None:
    """Return the commands that an agent offers in *message*, None if it says something else."""
    match message.params.get("update"):
        case {"sessionUpdate": "available_commands_update", "availableCommands": list(commands)}:
            return commands
    return None


def offer(conversation: Conversation) -> bytes:
    """Return the line that tells the client the agent's commands, and this one."""
    commands = [*conversation.commands, _COMMAND]
    update = {"sessionUpdate": "available_commands_update", "availableCommands": commands}
    return messages.update(conversation.client_id, update)
