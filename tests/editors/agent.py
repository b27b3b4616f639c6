"""An agent (ACP) that sends the updates in SEGUE_TEST_UPDATES, as JSON, during each turn."""

import json
import os
import sys
from typing import Any


def send(**message: Any) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def result_of(method: str) -> Any:
    """Return the result of a request; during a prompt, send the updates first."""
    if method == "initialize":
        return {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": []}
    if method == "session/new":
        return {"sessionId": "s"}
    if method == "session/prompt":
        for update in json.loads(os.environ["SEGUE_TEST_UPDATES"]):
            send(method="session/update", params={"sessionId": "s", "update": update})
        return {"stopReason": "end_turn"}
    return {}


def main() -> None:
    """Answer requests until the end of the input."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            send(id=request["id"], result=result_of(request["method"]))


if __name__ == "__main__":
    main()
