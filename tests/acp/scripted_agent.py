"""An agent of ACP that answers as a test has written down: `scripted_agent.py SCRIPT [HEARD]`.

SCRIPT is JSON: for a method, or for the text of a prompt, the messages to say, in which `$id` is
the id of the request; a number instead of one is a pause in seconds. With `outlives` it ends
neither with its input nor by SIGTERM. What it hears is written to the file HEARD.
"""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

SCRIPT: dict[str, list[Any]] = {
    "initialize": [{"id": "$id", "result": {"protocolVersion": 1}}],
    "session/new": [{"id": "$id", "result": {"sessionId": "scripted-agents-session"}}],
    "session/prompt": [{"id": "$id", "result": {"stopReason": "end_turn"}}],
    **json.loads(sys.argv[1]),
}
HEARD = Path(sys.argv[2]) if len(sys.argv) > 2 else None


def say(step: Any, id: object) -> None:
    if isinstance(step, int | float):
        time.sleep(step)
        return
    line = json.dumps({"jsonrpc": "2.0", **step})
    sys.stdout.write(line.replace('"$id"', json.dumps(id)) + "\n")
    sys.stdout.flush()


def steps_of(message: dict[str, Any]) -> list[Any]:
    prompt = message.get("params", {}).get("prompt", [])
    text = prompt[-1].get("text", "") if prompt else ""
    return SCRIPT.get(text, SCRIPT.get(message.get("method", ""), []))


def main() -> None:
    if "outlives" in SCRIPT:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        if HEARD is not None:
            with HEARD.open("a") as file:
                file.write(line)
        message = json.loads(line)
        for step in steps_of(message):
            say(step, message.get("id"))
    while "outlives" in SCRIPT:
        time.sleep(1)


if __name__ == "__main__":
    main()
