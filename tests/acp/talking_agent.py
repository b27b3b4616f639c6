"""An agent that answers a prompt with lines for some seconds, and writes down what it said when."""

import json
import os
import sys
import threading
import time
import uuid
from typing import Any

_INTERVAL_S = 0.01
_LINES = 500


def say(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **body}) + "\n")
    sys.stdout.flush()


def note(file: Any, **what: Any) -> None:
    file.write(json.dumps(what) + "\n")
    file.flush()


def talk(id: object, session: str) -> None:
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        note(file, pid=os.getpid(), at=time.monotonic())
        for number in range(_LINES):
            text = f"line {number}\n" if number % 3 else f"and {number} "
            content = {"type": "text", "text": text}
            update = {"sessionUpdate": "agent_message_chunk", "content": content}
            params = {"sessionId": session, "update": update}
            note(file, text=text, at=time.monotonic())
            say({"method": "session/update", "params": params})
            time.sleep(_INTERVAL_S)
    say({"id": id, "result": {"stopReason": "end_turn"}})


for line in sys.stdin:
    message = json.loads(line)
    match message["method"]:
        case "initialize":
            say({"id": message["id"], "result": {"protocolVersion": 1}})
        case "session/new":
            say({"id": message["id"], "result": {"sessionId": str(uuid.uuid4())}})
        case "session/prompt":
            given = (message["id"], message["params"]["sessionId"])
            threading.Thread(target=talk, args=given, daemon=True).start()
# The end of the input is its end.
os._exit(0)
