"""Kill the proxy while its agent speaks: what the agent got is stored, and what it said before.

The agent writes down each prompt when it gets it, and when it said what.
"""

import json
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segue.acp.connection import STORE_TIMEOUT_S
from segue.store.sqlite import driver
from tests.acp.client import PROXY, AcpClient
from tests.faults.ledger import folder_on_disk
from tests.faults.runner import Report, Size, main

KILLS: dict[Size, int] = {"short": 15, "long": 10_000}
AGENT = Path(__file__).parents[1] / "acp" / "talking_agent.py"
KILLS_PER_STORE = 50
AT_ONCE = 5
MAX_DELAY_S = 3.5
PERIOD_S = 2.0
SLACK_S = 0.5
"""What storing may take beyond the period after which it is begun."""

MAX_START_S = 60.0

FORWARDED = "the agent gets the prompt"
PROMPT = "a prompt that the agent got within a second is stored"
TEXT = "what was said more than 2 s before is stored"
TWICE = "nothing is stored twice"
ORPHAN = "the agent ends with the proxy"

_DATA = """
SELECT events.type, events.data FROM events
JOIN sessions ON sessions.number = events.key >> 32 WHERE sessions.id = ? ORDER BY events.key
"""


def run(report: Report, rng: random.Random) -> None:
    """Kill as many proxies as the size says, some at once, a few conversations to a store."""

    def kill(number: int) -> None:
        if report.has_failed:
            return
        place = folder / f"{number // KILLS_PER_STORE}"
        place.mkdir(exist_ok=True)
        _kill(report, random.Random(seeds[number]), place, f"word{number}")
        report.count("kills")

    seeds = [rng.random() for _ in range(KILLS[report.size])]
    with folder_on_disk() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill, range(len(seeds))))


def _kill(report: Report, rng: random.Random, folder: Path, word: str) -> None:
    database, said = folder / "sessions.db", folder / f"{word}.said"
    client = AcpClient(
        (*PROXY, sys.executable, "-I", str(AGENT), str(said)), folder, SEGUE_DATABASE=str(database)
    )
    client.initialize()
    session = client.new()
    prompt = [{"type": "text", "text": word}]
    asked = time.monotonic()
    client.ask("session/prompt", sessionId=session, prompt=prompt)
    if rng.random() < 0.9:
        deadline = time.monotonic() + MAX_START_S
        while not said.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        report.expect(said.exists(), FORWARDED, word)
    time.sleep(rng.uniform(0, MAX_DELAY_S) if rng.random() < 0.6 else 0)
    killed = time.monotonic()
    client.process.send_signal(signal.SIGKILL)
    client.kill()
    told = _told(said)
    stored = _stored(database, session)
    prompts = [data["content"] for type, data in stored if type == "user_message"]
    text = "".join(data["content"] for type, data in stored if type == "text")
    if told:
        # One that has waited that long for the store goes on without it.
        if word in prompts or told[0]["at"] - asked < STORE_TIMEOUT_S:
            report.expect(word in prompts, PROMPT, f"{word}: {prompts}")
            report.count("prompts that the agent got")
        else:
            report.count("prompts that had waited for a second")
        due = "".join(each["text"] for each in told[1:] if each["at"] < killed - PERIOD_S - SLACK_S)
        # A piece ends with a line.
        due = due[: due.rfind("\n") + 1]
        report.expect(text.startswith(due), TEXT, f"{len(text)} of {len(due)} characters")
        report.count("characters stored", len(text))
        _expect_end(report, told[0]["pid"])
    whole = "".join(each["text"] for each in told[1:])
    report.expect(whole.startswith(text) and len(prompts) < 2, TWICE, text[-80:])


def _told(path: Path) -> list[dict[str, Any]]:
    """Return what the agent wrote down: its process, then what it said, and when."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _stored(database: Path, session: str) -> list[tuple[str, Any]]:
    if not database.exists():
        return []
    db = driver.connect(str(database))
    try:
        return [(type, json.loads(data)) for type, data in db.execute(_DATA, (session,))]
    except driver.Error:  # killed before it had any table
        return []
    finally:
        db.close()


def _expect_end(report: Report, process: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    report.expect(False, ORPHAN, str(process))
    os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main(run)
