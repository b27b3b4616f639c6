"""A client that presses: storms of cancels, and questions whose answers it does not read.

What it does harms only itself: everything is answered once it reads, and memory has a limit.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from segue.cli.client import Client
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import (
    CountingClient,
    Json,
    framed,
    open_new,
    quiet,
    request,
    said,
    stage,
    status_of,
)

CANCELS: dict[Size, int] = {"short": 5_000, "long": 100_000}
CANCELS_EACH_SECOND = 20_000
ROUNDS: dict[Size, int] = {"short": 1, "long": 10}
PATIENCE_S = 5.0
MOST_KIB = 150 * 1024
PAGE_EVENTS = 4
UNREAD = 12
"""So many answers of four megabytes fill the pipe and what the server keeps back."""

CROWD: dict[Size, int] = {"short": 60, "long": 300}
"""So many fill more memory than a server may take, if it works them all off at once."""


class DeafClient(CountingClient):
    """A client that reads nothing until it is told to."""

    def __init__(self, folder: Path) -> None:
        self.listens = threading.Event()
        super().__init__(folder)

    def _messages(self) -> Iterator[Json]:
        self.listens.wait()
        return super()._messages()


def storm(report: Report, chance: Random, folder: Path) -> None:
    """Cancel what never was, what is under way and what is done, with requests in between."""
    client = CountingClient(folder)
    client.initialize()
    session = open_new(client)
    data, asked = _storm(chance, session, CANCELS[report.size])
    began = time.monotonic()
    client.write_bytes(data)
    client.answer(asked[-1])
    took = time.monotonic() - began
    code = client.close_stdin()
    report.count("cancels", CANCELS[report.size])
    report.count("requests in the storm", len(asked))
    report.counts["cancels each second"] = int(CANCELS[report.size] / took)
    limit = max(1.0, CANCELS[report.size] / CANCELS_EACH_SECOND)
    report.expect(took < limit, "a storm of cancels passes in time", f"{took:.1f} s of {limit} s")
    report.expect(code == 0, "a server ends well after a storm", f"exit code {code}")
    wrong = {each: n for each in asked if (n := client.arrived[str(each)]) != 1}
    report.expect(not wrong, "every request of a storm is answered once", f"{wrong}"[:200])
    _check_stored(report, folder, session, asked[:-1])


def _storm(chance: Random, session: str, cancels: int) -> tuple[bytes, list[int]]:
    asked, messages = [], []
    msg_id = 1_000_000
    for number in range(cancels):
        if number % 25 == 0:
            msg_id += 1
            params = {"sessionId": session, "events": [said("x", str(msg_id))]}
            messages.append(framed(request(msg_id, "session/append", params)))
            asked.append(msg_id)
        target = chance.choice([msg_id, msg_id, -number, f"{number}", msg_id - 5, None])
        cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": target}}
        messages.append(framed(cancel))
    messages.append(framed(request(msg_id + 1, "session/list")))
    return b"".join(messages), [*asked, msg_id + 1]


def _check_stored(report: Report, folder: Path, session: str, asked: list[int]) -> None:
    with _served(folder) as client:
        ids: list[str] = []
        while len(ids) < len(asked):
            params = {"sessionId": session, "after": len(ids), "limit": 1_000}
            page = client.request("session/events", params)["events"]
            if not page:
                break
            ids += [event["id"] for event in page]
    whole = ids == [str(each) for each in asked]
    report.expect(whole, "a cancel loses the answer, never the work", f"{len(ids)} stored")
    report.count("stored in the storm", len(ids))


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Client]:
    client = Client(folder)
    client.initialize()
    yield client
    client.close_stdin()


def _fill(folder: Path) -> str:
    with _served(folder) as client:
        session = open_new(client)
        events = [said(f"{n}" + "x" * 1_000_000) for n in range(PAGE_EVENTS)]
        client.request("session/append", {"sessionId": session, "events": events})
    return session


def _questions(session: str, answers: int) -> list[Json]:
    params = {"sessionId": session, "before": PAGE_EVENTS + 1}
    return [request(number, "session/events", params) for number in range(1, answers + 1)]


def unread(report: Report, folder: Path, session: str, answers: int) -> None:
    """Ask for much more than is read; look at the server meanwhile; read it all in the end."""
    client = DeafClient(folder)
    messages = [request(0, "initialize", {"capabilities": {}})]
    messages.append(request(-1, "session/open", {"sessionId": session, "tail": 0}))
    messages += _questions(session, answers)
    client.write_bytes(b"".join(map(framed, messages)))
    _append_meanwhile(report, folder)
    peak = _settled_peak(client.process.pid)
    report.counts[f"peak MiB, {answers} answers unread"] = peak // 1024
    promise = f"a client that reads nothing costs less than {MOST_KIB // 1024} MiB"
    report.expect(peak < MOST_KIB, promise, f"{peak // 1024} MiB with {answers} answers unread")
    client.listens.set()
    for number in range(1, answers + 1):
        client.answer(number)
    client.write(request("last", "session/list", {"limit": 1}))
    client.answer("last")
    client.close_stdin()
    wrong = [n for n in range(1, answers + 1) if client.arrived[str(n)] != 1]
    report.expect(not wrong, "who reads again has every answer once", f"{wrong[:5]}")
    report.count("unread answers", answers)


def _append_meanwhile(report: Report, folder: Path) -> None:
    """Let another window work while the deaf one does not."""
    with _served(folder) as client:
        session = open_new(client)
        began = time.monotonic()
        for number in range(20):
            params = {"sessionId": session, "events": [said(f"meanwhile {number}")]}
            client.request("session/append", params)
        took = time.monotonic() - began
    report.count("appends of other windows", 20)
    report.expect(took < PATIENCE_S, "other windows go on", f"20 appends took {took:.1f} s")


def _settled_peak(process_id: int) -> int:
    """Return the most memory that a process took, in KiB, once it takes no more."""
    peak, at = 0, time.monotonic()
    while time.monotonic() - at < 1.0:
        now = status_of(process_id, "VmHWM")
        if now > peak:
            peak, at = now, time.monotonic()
        time.sleep(0.1)
    return peak


def ended_unread(report: Report, folder: Path, session: str) -> None:
    """Close stdin while the server waits for us to read: it must not wait for ever."""
    client: Any = DeafClient(folder)
    messages = [request(0, "initialize", {"capabilities": {}}), *_questions(session, UNREAD)]
    client.write_bytes(b"".join(map(framed, messages)))
    _settled_peak(client.process.pid)
    client.process.stdin.close()
    try:
        client.process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        report.expect(False, "the end of stdin ends a server whose answers nobody reads")
    client.process.kill()
    client.listens.set()
    client.process.wait()
    report.count("ends with answers unread")


def run(report: Report, chance: Random) -> None:
    """Press in every way."""
    with stage() as folder, quiet():
        storm(report, chance, folder)
        session = _fill(folder)
        for _ in range(ROUNDS[report.size]):
            unread(report, folder, session, UNREAD)
            unread(report, folder, session, CROWD[report.size])
            ended_unread(report, folder, session)


if __name__ == "__main__":
    main(run)
