"""A client that overloads the server: floods of cancellations, and responses that it does not read.

Only that client may suffer: the server's memory is bounded, other windows go on, and every response
arrives once the client reads.
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
    request,
    sandbox,
    silent_stderr,
    status_of,
    user_message,
)

CANCELS: dict[Size, int] = {"short": 5_000, "long": 100_000}
MIN_CANCELS_PER_SECOND = 20_000
ROUNDS: dict[Size, int] = {"short": 1, "long": 10}
TIMEOUT_S = 5.0
MAX_KIB = 150 * 1024
PAGE_EVENTS = 4
FEW_UNREAD = 12
"""As many responses of four megabytes as fill the pipe and the server's buffer."""

MANY_UNREAD: dict[Size, int] = {"short": 60, "long": 300}
"""As many as take more than MAX_KIB, if the server handled them all at once."""

FLOOD_IN_TIME = "a flood of cancellations is handled in time"
FLOOD_EXIT = "the server exits with 0 after a flood of cancellations"
FLOOD_RESPONSES = "every request in a flood of cancellations gets one response"
FLOOD_STORED = "a cancelled append loses its response, not its events"
MEMORY = f"a client that reads nothing costs less than {MAX_KIB // 1024} MiB"
ALL_RESPONSES = "a client that reads late gets every response once"
OTHER_WINDOWS = "other windows go on"
UNREAD_EXIT = "the end of stdin ends a server whose responses nobody reads"


class PausedClient(CountingClient):
    """A client that reads nothing before `reads` is set."""

    def __init__(self, folder: Path) -> None:
        self.reads = threading.Event()
        super().__init__(folder)

    def _messages(self) -> Iterator[Json]:
        self.reads.wait()
        return super()._messages()


def cancel_flood(report: Report, chance: Random, folder: Path) -> None:
    """Cancel unknown, running and finished requests, with new requests in between."""
    client = CountingClient(folder)
    client.initialize()
    session = open_new(client)
    data, requested = _flood(chance, session, CANCELS[report.size])
    began = time.monotonic()
    client.write_bytes(data)
    client.answer(requested[-1])
    took = time.monotonic() - began
    code = client.close_stdin()
    report.count("cancellations", CANCELS[report.size])
    report.count("requests in the flood", len(requested))
    report.counts["cancellations per second"] = int(CANCELS[report.size] / took)
    limit = max(1.0, CANCELS[report.size] / MIN_CANCELS_PER_SECOND)
    report.expect(took < limit, FLOOD_IN_TIME, f"{took:.1f} s of {limit} s")
    report.expect(code == 0, FLOOD_EXIT, f"exit code {code}")
    wrong = {each: n for each in requested if (n := client.responses[str(each)]) != 1}
    report.expect(not wrong, FLOOD_RESPONSES, f"{wrong}"[:200])
    _check_stored(report, folder, session, requested[:-1])


def _flood(chance: Random, session: str, cancels: int) -> tuple[bytes, list[int]]:
    requested, messages = [], []
    msg_id = 1_000_000
    for number in range(cancels):
        if number % 25 == 0:
            msg_id += 1
            params = {"sessionId": session, "events": [user_message("x", str(msg_id))]}
            messages.append(framed(request(msg_id, "session/append", params)))
            requested.append(msg_id)
        target = chance.choice([msg_id, msg_id, -number, f"{number}", msg_id - 5, None])
        cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": target}}
        messages.append(framed(cancel))
    messages.append(framed(request(msg_id + 1, "session/list")))
    return b"".join(messages), [*requested, msg_id + 1]


def _check_stored(report: Report, folder: Path, session: str, sent: list[int]) -> None:
    with _new_client(folder) as client:
        ids: list[str] = []
        while len(ids) < len(sent):
            params = {"sessionId": session, "after": len(ids), "limit": 1_000}
            page = client.request("session/events", params)["events"]
            if not page:
                break
            ids += [event["id"] for event in page]
    complete = ids == [str(each) for each in sent]
    report.expect(complete, FLOOD_STORED, f"{len(ids)} stored")
    report.count("events stored in the flood", len(ids))


@contextlib.contextmanager
def _new_client(folder: Path) -> Iterator[Client]:
    client = Client(folder)
    client.initialize()
    yield client
    client.close_stdin()


def _store_large_events(folder: Path) -> str:
    with _new_client(folder) as client:
        session = open_new(client)
        events = [user_message(f"{n}" + "x" * 1_000_000) for n in range(PAGE_EVENTS)]
        client.request("session/append", {"sessionId": session, "events": events})
    return session


def _page_requests(session: str, count: int) -> list[Json]:
    params = {"sessionId": session, "before": PAGE_EVENTS + 1}
    return [request(number, "session/events", params) for number in range(1, count + 1)]


def read_late(report: Report, folder: Path, session: str, count: int) -> None:
    """Request *count* large pages, measure the server's memory, and only then read them."""
    client = PausedClient(folder)
    messages = [request(0, "initialize", {"capabilities": {}})]
    messages.append(request(-1, "session/open", {"sessionId": session, "tail": 0}))
    messages += _page_requests(session, count)
    client.write_bytes(b"".join(map(framed, messages)))
    _append_in_another_window(report, folder)
    peak = _settled_peak(client.process.pid)
    report.counts[f"peak MiB, {count} responses unread"] = peak // 1024
    report.expect(peak < MAX_KIB, MEMORY, f"{peak // 1024} MiB with {count} responses unread")
    client.reads.set()
    for number in range(1, count + 1):
        client.answer(number)
    client.write(request("last", "session/list", {"limit": 1}))
    client.answer("last")
    client.close_stdin()
    wrong = [n for n in range(1, count + 1) if client.responses[str(n)] != 1]
    report.expect(not wrong, ALL_RESPONSES, f"{wrong[:5]}")
    report.count("responses read late", count)


def _append_in_another_window(report: Report, folder: Path) -> None:
    with _new_client(folder) as client:
        session = open_new(client)
        began = time.monotonic()
        for number in range(20):
            params = {"sessionId": session, "events": [user_message(f"append {number}")]}
            client.request("session/append", params)
        took = time.monotonic() - began
    report.count("appends of other windows", 20)
    report.expect(took < TIMEOUT_S, OTHER_WINDOWS, f"20 appends took {took:.1f} s")


def _settled_peak(process_id: int) -> int:
    """Return the peak memory of a process, in KiB, once it has not risen for a second."""
    peak, risen = 0, time.monotonic()
    while time.monotonic() - risen < 1.0:
        now = status_of(process_id, "VmHWM")
        if now > peak:
            peak, risen = now, time.monotonic()
        time.sleep(0.1)
    return peak


def exit_unread(report: Report, folder: Path, session: str) -> None:
    """Close stdin while the server waits for the client to read: it must exit all the same."""
    client: Any = PausedClient(folder)
    messages = [request(0, "initialize", {"capabilities": {}})]
    messages += _page_requests(session, FEW_UNREAD)
    client.write_bytes(b"".join(map(framed, messages)))
    _settled_peak(client.process.pid)
    client.process.stdin.close()
    try:
        client.process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        report.expect(False, UNREAD_EXIT)
    client.process.kill()
    client.reads.set()
    client.process.wait()
    report.count("exits with responses unread")


def run(report: Report, chance: Random) -> None:
    """Flood a server with cancellations, then leave responses unread."""
    with sandbox() as folder, silent_stderr():
        cancel_flood(report, chance, folder)
        session = _store_large_events(folder)
        for _ in range(ROUNDS[report.size]):
            read_late(report, folder, session, FEW_UNREAD)
            read_late(report, folder, session, MANY_UNREAD[report.size])
            exit_unread(report, folder, session)


if __name__ == "__main__":
    main(run)
