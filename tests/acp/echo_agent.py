"""An agent of ACP that repeats what it is told: with `--loads` it keeps conversations, too.

`DIE` ends it in the middle of a line, `WAIT` ends the turn only if it is cancelled, `COUNT n` says
numbers. With `--lists` it lists them, with `--titles` it makes titles of what it is told, and with
`--late` it offers commands for a while after a load.
"""

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

FOLDER = next((Path(each.partition("=")[2]) for each in sys.argv if "--keeps=" in each), None)
NAME = next((each.partition("=")[2] for each in sys.argv if "--name=" in each), "echo-agent")
LATE = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.3] if "--late" in sys.argv else [0]
IDS = "--short-ids" not in sys.argv
COMMANDS = {"sessionUpdate": "available_commands_update", "availableCommands": [{"name": "its"}]}


def say(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **body}) + "\n")
    sys.stdout.flush()


def update(session: str, kind: str, text: str) -> None:
    content = {"type": "text", "text": text}
    params = {"sessionId": session, "update": {"sessionUpdate": kind, "content": content}}
    say({"method": "session/update", "params": params})


def prompt(session: str, text: str) -> None:
    if "--titles" in sys.argv:
        titled = {"sessionUpdate": "session_info_update", "title": text[:80]}
        say({"method": "session/update", "params": {"sessionId": session, "update": titled}})
    if text.startswith("COUNT "):
        for number in range(int(text.split()[1])):
            update(session, "agent_message_chunk", f"{number} ")
    else:
        update(session, "agent_message_chunk", f"You said: {text}")
    keep(session, text)


def keep(session: str, text: str) -> None:
    if FOLDER is not None:
        with (FOLDER / session).open("a") as file:
            file.write(json.dumps(text) + "\n")


def main() -> None:
    count, waiting = 0, None
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:
            sys.stdout.write(line)
            sys.stdout.flush()
            continue
        method, params, id = message.get("method"), message.get("params", {}), message.get("id")
        match method:
            case "initialize":
                capabilities: dict[str, Any] = {} if FOLDER is None else {"loadSession": True}
                if "--lists" in sys.argv:
                    capabilities["sessionCapabilities"] = {"list": {}}
                info = {"name": NAME, "version": "1"}
                say(
                    {
                        "id": id,
                        "result": {
                            "protocolVersion": 1,
                            "agentInfo": info,
                            "agentCapabilities": capabilities,
                        },
                    }
                )
            case "session/new":
                count += 1
                session = str(uuid.uuid4()) if IDS else str(count)
                keep(session, "")
                say({"id": id, "result": {"sessionId": session}})
            case "session/load":
                session = params["sessionId"]
                if FOLDER is None or not (FOLDER / session).exists():
                    say({"id": id, "error": {"code": -32002, "message": "no such session"}})
                    continue
                for each in (FOLDER / session).read_text().splitlines():
                    if text := json.loads(each):
                        update(session, "user_message_chunk", text)
                        if text != "WAIT":
                            update(session, "agent_message_chunk", f"You said: {text}")
                say({"id": id, "result": {}})
                for wait in LATE:
                    time.sleep(wait)
                    offered = {"sessionId": session, "update": COMMANDS}
                    say({"method": "session/update", "params": offered})
            case "session/list" if FOLDER is not None:
                own = [{"sessionId": each.name, "cwd": "/"} for each in FOLDER.iterdir()]
                say({"id": id, "result": {"sessions": own}})
            case "session/prompt":
                text = "".join(block.get("text", "") for block in params["prompt"])
                if text == "DIE":
                    sys.stdout.write('{"jsonrpc": "2.0", "met')
                    sys.stdout.flush()
                    sys.exit(7)
                if text == "WAIT":
                    update(params["sessionId"], "agent_message_chunk", "working\non it")
                    keep(params["sessionId"], text)
                    waiting = id
                    continue
                prompt(params["sessionId"], text)
                say({"id": id, "result": {"stopReason": "end_turn"}})
            case "session/cancel":
                say({"id": waiting, "result": {"stopReason": "cancelled"}})
            case None:
                pass
            case _ if id is not None:
                say({"id": id, "error": {"code": -32601, "message": f"no method {method}"}})


if __name__ == "__main__":
    main()
