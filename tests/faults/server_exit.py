"""End real servers during work in every way that an editor or a system can, and check the store.

The server must exit within five seconds, and everything that was sent before the end is stored.
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
    exits_within,
    framed,
    open_new,
    request,
    sandbox,
    silent_stderr,
    status_of,
    user_message,
)

ROUNDS: dict[Size, int] = {"short": 1, "long": 50}
MAX_EXIT_S = 5.0
APPENDS = 1_000
"""More than a pipe holds: when the last one is written, the server has hundreds still to store."""

IDLE_S = 2.0
MAX_IDLE_TICKS = 4
"""The CPU time that an idle server may use in IDLE_S, in 1/100 s."""

EDITOR = """
import subprocess, sys
server = subprocess.Popen(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(server.pid))
server.wait()
"""


class BusyServer:
    """One server during work: all appends were sent, and at least one is acknowledged."""

    def __init__(self, folder: Path, chance: Random) -> None:
        pid_file = folder / "server.pid"
        pid_file.unlink(missing_ok=True)
        editor = [sys.executable, "-c", EDITOR, str(pid_file), *SERVER]
        # The pipe's other end is in this process: stdin stays open when the editor is killed.
        self.client = Client(folder, command=editor)
        self.client.request("initialize", {"processId": self.client.process.pid})
        self.process_id = int(pid_file.read_text())
        self.session = open_new(self.client)
        # In one write, so that the server still has work to do when the end begins.
        self.client.write_bytes(b"".join(map(self._append, range(APPENDS))))
        self._first = f"{chance.randrange(APPENDS // 4)}"
        self.client.answer(self._first)

    def _append(self, number: int) -> bytes:
        params = {"sessionId": self.session, "events": [user_message("x", str(number))]}
        return framed(request(str(number), "session/append", params))

    def acknowledged(self) -> list[str]:
        ids = map(str, range(APPENDS))
        return [each for each in ids if each == self._first or self.client.is_answered(each)]


def close_stdin(server: BusyServer) -> None:
    stdin: Any = server.client.process.stdin
    stdin.close()


def kill_editor(server: BusyServer) -> None:
    server.client.process.kill()
    server.client.process.wait()


def send_signal(number: int) -> Callable[[BusyServer], None]:
    def send(server: BusyServer) -> None:
        subprocess.run(["kill", f"-{number}", str(server.process_id)], check=True)

    return send


def shut_down(server: BusyServer) -> None:
    server.client.send("shutdown")
    server.client.notify("exit")


CAUSES: dict[str, Callable[[BusyServer], None]] = {
    "end of stdin": close_stdin,
    "exit": lambda server: server.client.notify("exit"),
    "shutdown": shut_down,
    "SIGTERM": send_signal(signal.SIGTERM),
    "SIGHUP": send_signal(signal.SIGHUP),
    "SIGINT": send_signal(signal.SIGINT),
    "editor killed": kill_editor,
}


IN_TIME = f"the server exits within {MAX_EXIT_S:.0f} s"
ACKNOWLEDGED_STORED = "every acknowledged event is stored"
IN_ORDER = "events are stored in the order in which they were sent"
ALL_STORED = "everything that was sent before the end is stored"
IDLE = "an idle server uses no CPU time"
SLOWEST = "slowest exit, s"


def end(report: Report, chance: Random, folder: Path, cause: str) -> None:
    """Start a server, end it by *cause* during work, and compare what was sent and stored."""
    server = BusyServer(folder, chance)
    began = time.monotonic()
    CAUSES[cause](server)
    exited = exits_within(server.process_id, MAX_EXIT_S)
    took = time.monotonic() - began
    report.expect(exited, IN_TIME, cause)
    if not exited:
        subprocess.run(["kill", "-9", str(server.process_id)], check=True)
        exits_within(server.process_id, MAX_EXIT_S)
    server.client.kill()
    stored = asyncio.run(_stored(database_in(folder), server.session))
    acknowledged = server.acknowledged()
    sent = [str(number) for number in range(APPENDS)]
    lost = set(acknowledged) - set(stored)
    report.expect(not lost, ACKNOWLEDGED_STORED, f"{cause}: lost {sorted(lost)[:5]}")
    report.expect(stored == sent[: len(stored)], IN_ORDER, cause)
    report.expect(stored == sent, ALL_STORED, f"{cause}: {len(stored)} of {APPENDS}")
    report.count("exits")
    report.count(f"exits by {cause}")
    report.count("acknowledged", len(acknowledged))
    report.count("stored", len(stored))
    report.counts[SLOWEST] = round(max(took, report.counts.get(SLOWEST, 0)), 2)


async def _stored(database: Path, session: str) -> list[str]:
    service = await LocalSessionService.open(database)
    try:
        page = await service.load_events(session, after=0, limit=1_000)
        return [event.id for event in page.events]
    finally:
        await service.close()


def idle(report: Report, folder: Path) -> None:
    """Measure the CPU time and the wake-ups of a server without requests."""
    client = Client(folder)
    client.initialize()
    session = open_new(client)
    client.request("session/append", {"sessionId": session, "events": [user_message("one")]})
    before = _ticks(client.process.pid), _wakeups(client.process.pid)
    time.sleep(IDLE_S)  # this wait is the measurement
    ticks = _ticks(client.process.pid) - before[0]
    report.count("idle CPU ticks", ticks)
    report.counts["idle wake-ups"] = _wakeups(client.process.pid) - before[1]
    report.count("idle servers")
    report.expect(ticks <= MAX_IDLE_TICKS, IDLE, f"{ticks} ticks")
    client.close_stdin()


def _ticks(process_id: int) -> int:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _wakeups(process_id: int) -> int:
    return status_of(process_id, "voluntary_ctxt_switches")


def run(report: Report, chance: Random) -> None:
    """End a server by each cause, and leave one idle, in each round."""
    with sandbox() as folder, silent_stderr():
        for _ in range(ROUNDS[report.size]):
            for cause in CAUSES:
                end(report, chance, folder, cause)
            idle(report, folder)


if __name__ == "__main__":
    main(run)
