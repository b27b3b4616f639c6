"""Records conversations through a real server over stdio, as another editor would.

`python -m tests.editors.vscode.record DATABASE` reads conversations as JSON from standard input and
prints their ids: `[{"directory": …, "events": [{"type": …, "data": …}], "minutes": age}]`. With a
`sessionId`, the events are appended to that conversation; with a `title`, it gets that.
"""

import json
import sys
from pathlib import Path
from typing import Any

from segue.cli.client import Client
from tests.factories import make_older


def main() -> None:
    """Record the conversations of each directory with a server process of its own."""
    database = Path(sys.argv[1])
    conversations: list[dict[str, Any]] = json.load(sys.stdin)
    clients: dict[str, Client] = {}
    ids = []
    for conversation in conversations:
        directory = conversation["directory"]
        if directory not in clients:
            clients[directory] = start(database, Path(directory))
        ids.append(record(clients[directory], conversation))
    for client in clients.values():
        client.shutdown()
    for session_id, conversation in zip(ids, conversations, strict=True):
        make_older(database, session_id, conversation.get("minutes", 0))
    print(json.dumps(ids))  # noqa: T201  the output of this script


def start(database: Path, directory: Path) -> Client:
    """Start a server for a directory."""
    client = Client(directory, {"SEGUE_DATABASE": str(database)})
    client.initialize(rootUri=directory.as_uri())
    return client


def record(client: Client, conversation: dict[str, Any]) -> str:
    """Record one conversation and return its id."""
    known = conversation.get("sessionId")
    mode = {"mode": "new"} if known is None else {"sessionId": known}
    session_id: str = client.request("session/open", mode)["session"]["sessionId"]
    append = {"sessionId": session_id, "events": conversation["events"]}
    client.request("session/append", append)
    if "title" in conversation:
        title = {"sessionId": session_id, "title": conversation["title"]}
        client.request("session/setTitle", title)
    client.request("session/close", {"sessionId": session_id})
    return session_id


if __name__ == "__main__":
    main()
