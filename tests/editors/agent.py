"""An agent (ACP) that sends the updates in SEGUE_TEST_UPDATES, as JSON, during each turn.

With SEGUE_TEST_REPLAY, it can load a session, and then sends the updates in it.
"""

import json
import os
import sys
from typing import Any


def send(**message: Any) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def send_updates(session_id: str, variable: str) -> None:
    """Send the updates that an environment variable holds."""
    for update in json.loads(os.environ[variable]):
        send(method="session/update", params={"sessionId": session_id, "update": update})


def result_of(method: str, session_id: str) -> Any:
    """Return the result of a request; during a prompt, send the updates first."""
    if method == "initialize":
        capabilities = {"loadSession": "SEGUE_TEST_REPLAY" in os.environ}
        return {"protocolVersion": 1, "agentCapabilities": capabilities, "authMethods": []}
    if method == "session/new":
        return {"sessionId": "s"}
    if method == "session/prompt":
        send_updates(session_id, "SEGUE_TEST_UPDATES")
        return {"stopReason": "end_turn"}
    if method == "session/load":
        send_updates(session_id, "SEGUE_TEST_REPLAY")
    return {}


def main() -> None:
    """Answer requests until the end of the input."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            session_id = request.get("params", {}).get("sessionId", "s")
            send(id=request["id"], result=result_of(request["method"], session_id))


if __name__ == "__main__":
    main()
