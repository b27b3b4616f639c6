"""End real servers in every way there is, in the middle of work, and look what is on disk after it.

Gone in five seconds; what was acknowledged is stored, and so is all that was sent before the end.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from segue.cli.client import Client
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import (
    SERVER,
    database_in,
    framed,
    is_gone_within,
    open_new,
    quiet,
    request,
    said,
    stage,
    status_of,
)

ROUNDS: dict[Size, int] = {"short": 1, "long": 50}
PROMISED_S = 5.0
APPENDS = 400
IDLE_S = 2.0
MOST_TICKS = 4
"""Of a hundred in a second: what an idle server may use in IDLE_S."""

EDITOR = """
import subprocess, sys
server = subprocess.Popen(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(server.pid))
server.wait()
"""


class Life:
    """One server in the middle of work: appends were sent, and some of them are answered."""

    def __init__(self, folder: Path, chance: Random) -> None:
        self._note = folder / "server.pid"
        self._note.unlink(missing_ok=True)
        editor = [sys.executable, "-c", EDITOR, str(self._note), *SERVER]
        # The editor's own pipe ends are here: whoever kills it, stdin is still held open.
        self.client = Client(folder, command=editor)
        self.client.request("initialize", {"processId": self.client.process.pid})
        self.server = int(self._note.read_text())
        self.session = open_new(self.client)
        # In one piece: a server that is asked one by one has answered before the end begins.
        self.client.write_bytes(b"".join(map(self._append, range(APPENDS))))
        self._first = f"{chance.randrange(APPENDS // 4)}"
        self.client.answer(self._first)

    def _append(self, number: int) -> bytes:
        params = {"sessionId": self.session, "events": [said("x", str(number))]}
        return framed(request(str(number), "session/append", params))

    def acknowledged(self) -> list[str]:
        names = map(str, range(APPENDS))
        return [each for each in names if each == self._first or self.client.is_answered(each)]

    def discard(self) -> None:
        self.client.kill()


def close_stdin(life: Life) -> None:
    stdin: Any = life.client.process.stdin
    stdin.close()


def kill_editor(life: Life) -> None:
    life.client.process.kill()
    life.client.process.wait()


def send_signal(number: int) -> Callable[[Life], None]:
    def send(life: Life) -> None:
        subprocess.run(["kill", f"-{number}", str(life.server)], check=True)

    return send


def shut_down(life: Life) -> None:
    life.client.send("shutdown")
    life.client.notify("exit")


WAYS: dict[str, Callable[[Life], None]] = {
    "end of stdin": close_stdin,
    "exit": lambda life: life.client.notify("exit"),
    "shutdown": shut_down,
    "SIGTERM": send_signal(signal.SIGTERM),
    "SIGHUP": send_signal(signal.SIGHUP),
    "SIGINT": send_signal(signal.SIGINT),
    "editor killed": kill_editor,
}


def end(report: Report, chance: Random, folder: Path, name: str) -> None:
    """Live once, end in the way *name*, and compare what was said with what is stored."""
    life = Life(folder, chance)
    began = time.monotonic()
    WAYS[name](life)
    gone = is_gone_within(life.server, PROMISED_S)
    took = time.monotonic() - began
    report.expect(gone, f"gone in {PROMISED_S:.0f} s", name)
    if not gone:
        subprocess.run(["kill", "-9", str(life.server)], check=True)
        is_gone_within(life.server, PROMISED_S)
    life.discard()
    stored = asyncio.run(_stored(database_in(folder), life.session))
    acknowledged = life.acknowledged()
    everything = [str(number) for number in range(APPENDS)]
    lost = set(acknowledged) - set(stored)
    report.expect(not lost, "what was acknowledged is stored", f"{name}: lost {sorted(lost)[:5]}")
    report.expect(stored == everything[: len(stored)], "what is stored is what was sent", name)
    short = f"{name}: {len(stored)} of {APPENDS}"
    report.expect(stored == everything, "all that was sent before the end is stored", short)
    report.count("ends")
    report.count(f"ends by {name}")
    report.count("acknowledged", len(acknowledged))
    report.count("stored", len(stored))
    report.counts["longest end, s"] = round(max(took, report.counts.get("longest end, s", 0)), 2)


async def _stored(database: Path, session: str) -> list[str]:
    service = await LocalSessionService.open(database)
    try:
        page = await service.load_events(session, after=0, limit=1_000)
        return [event.id for event in page.events]
    finally:
        await service.close()


def idle(report: Report, folder: Path) -> None:
    """Measure what a server that has nothing to do uses."""
    client = Client(folder)
    client.initialize()
    session = open_new(client)
    client.request("session/append", {"sessionId": session, "events": [said("one")]})
    before = _ticks(client.process.pid), _wakeups(client.process.pid)
    time.sleep(IDLE_S)  # the one wait that is the measurement: nothing may happen in it
    ticks = _ticks(client.process.pid) - before[0]
    report.counts["idle ticks"] = ticks + report.counts.get("idle ticks", 0)
    report.counts["idle wake-ups"] = _wakeups(client.process.pid) - before[1]
    report.count("idle servers")
    report.expect(ticks <= MOST_TICKS, "an idle server uses no processor", f"{ticks} ticks")
    client.close_stdin()


def _ticks(process_id: int) -> int:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _wakeups(process_id: int) -> int:
    return status_of(process_id, "voluntary_ctxt_switches")


def run(report: Report, chance: Random) -> None:
    """End servers in each way, and leave one alone."""
    with stage() as folder, quiet():
        for _ in range(ROUNDS[report.size]):
            for name in WAYS:
                end(report, chance, folder, name)
            idle(report, folder)


if __name__ == "__main__":
    main(run)
