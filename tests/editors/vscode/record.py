"""Records conversations through a real server over stdio, as another editor would.

`python -m tests.editors.vscode.record DATABASE` reads conversations as JSON from standard input and
prints their ids: `[{"directory": …, "events": [{"type": …, "data": …}], "minutes": age}]`. With a
`sessionId`, the events are appended to that conversation.
"""

import json
import sys
from pathlib import Path
from typing import Any

from segue.cli.client import Client
from tests.factories import make_older


def main() -> None:
    """Record each conversation with a server process of its own."""
    database = Path(sys.argv[1])
    print(json.dumps([record(database, each) for each in json.load(sys.stdin)]))  # noqa: T201  the output of this script


def record(database: Path, conversation: dict[str, Any]) -> str:
    """Record one conversation and return its id."""
    directory = Path(conversation["directory"])
    known = conversation.get("sessionId")
    mode = {"mode": "new"} if known is None else {"sessionId": known}
    client = Client(directory, {"SEGUE_DATABASE": str(database)})
    client.initialize(rootUri=directory.as_uri())
    session_id: str = client.request("session/open", mode)["session"]["sessionId"]
    client.request("session/append", {"sessionId": session_id, "events": conversation["events"]})
    client.shutdown()
    make_older(database, session_id, conversation.get("minutes", 0))
    return session_id


if __name__ == "__main__":
    main()
