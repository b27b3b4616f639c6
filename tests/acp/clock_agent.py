"""An agent that answers `TALK n` with the time, n times, 10 ms apart."""

import json
import os
import sys
import time
import uuid
from typing import Any

_PAUSE_S = 0.01


def say(body: dict[str, Any]) -> None:
    os.write(1, json.dumps({"jsonrpc": "2.0", **body}).encode() + b"\n")


for line in sys.stdin:
    message = json.loads(line)
    id, params = message.get("id"), message.get("params", {})
    match message["method"]:
        case "initialize":
            say({"id": id, "result": {"protocolVersion": 1}})
        case "session/new":
            say({"id": id, "result": {"sessionId": str(uuid.uuid4())}})
        case "session/list":
            say({"id": id, "result": {"sessions": []}})
        case "session/prompt":
            count = int(params["prompt"][-1]["text"].split()[1])
            for number in range(count):
                if number:
                    time.sleep(_PAUSE_S)
                content = {"type": "text", "text": str(time.monotonic())}
                update = {"sessionUpdate": "agent_message_chunk", "content": content}
                given = {"sessionId": params["sessionId"], "update": update}
                say({"method": "session/update", "params": given})
            say({"id": id, "result": {"stopReason": "end_turn"}})
