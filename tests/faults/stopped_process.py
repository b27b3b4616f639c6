"""Stop a process (SIGSTOP) that holds a lock of the store, and use the store from other windows.

All requests that wait for the lock are answered within its timeout, together and not one after the
other; the error names the stopped process; waiting takes no further threads or descriptors; and
everything works again when the process continues.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from segue.cli.client import Client, RequestError
from segue.store.sqlite import driver
from tests.faults import ledger
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import open_new, silent_stderr, user_message

ROUNDS: dict[Size, int] = {"short": 1, "long": 20}
REQUESTS = 4
APART_S = 0.2
SLACK_S = 1.5
"""How much later than the timeout an answer may come, on a busy machine."""

TOO_LATE = "a request is not answered within the timeout of a lock"
UNNAMED = "the error does not name the stopped process"
WRONG_ERROR = "a lock that is held is reported as another error than StorageUnavailable"
GROWN = "requests that wait for a lock take further threads or descriptors"
NOT_RECOVERED = "the store does not work after the process has continued"

HOLDERS = {
    "write lock": "lock = WriteLock(path); lock.acquire(5)",
    "transaction": "db = driver.connect(path); db.execute('BEGIN IMMEDIATE')",
    "repair": "lock = OpenLock(path); lock.share(); print(lock.try_exclusive())",
}
"""What a process holds when it is stopped. During a repair no new window can open the store."""

SOURCE = """
import os, signal, sys
from segue.store.sqlite import driver
from segue.store.sqlite.locks import OpenLock, WriteLock
path = sys.argv[1]
{}
os.kill(os.getpid(), signal.SIGSTOP)
"""


def _start_holder(database: Path, what: str) -> subprocess.Popen[bytes]:
    """Start a process that takes a lock, and return when it has stopped itself."""
    command = [sys.executable, "-c", SOURCE.format(HOLDERS[what]), str(database)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.waitpid(process.pid, os.WUNTRACED)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGCONT)
    process.wait()


class Window:
    """A client, and when its requests were sent."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.client = Client(folder, {"SEGUE_DATABASE": str(database)})
        self.client.initialize()

    def threads_and_descriptors(self) -> int:
        """Return how many the server has of both."""
        process = Path(f"/proc/{self.client.process.pid}")
        return len(list((process / "task").iterdir())) + len(list((process / "fd").iterdir()))

    def request_all(self, report: Report, requests: list[tuple[str, object]], pid: int) -> None:
        """Send requests one after the other while the lock is held; check every answer."""
        sent = []
        for method, params in requests:
            sent.append((time.monotonic(), self.client.send(method, params), method))
            time.sleep(APART_S)
        for at, id, method in sent:
            try:
                self.client.result(id)
                report.count("answered")
            except RequestError as error:
                report.count("refused")
                report.expect(error.kind == "StorageUnavailable", WRONG_ERROR, f"{error.kind}")
                report.expect(f"process {pid} " in error.message, UNNAMED, error.message)
                report.expect("which is stopped" in error.message, UNNAMED, error.message)
            took = time.monotonic() - at
            limit = driver.BUSY_TIMEOUT_S + SLACK_S
            report.expect(took < limit, TOO_LATE, f"{method} after {took:.1f} s")


def _hold_writes(report: Report, folder: Path, database: Path, what: str) -> None:
    window = Window(folder, database)
    sessions = [open_new(window.client) for _ in range(REQUESTS)]
    for session in sessions:
        params = {"sessionId": session, "events": [user_message("before")]}
        window.client.request("session/append", params)
    requests: list[tuple[str, object]] = [
        ("session/append", {"sessionId": session, "events": [user_message("during")]})
        for session in sessions
    ]
    requests.append(("session/list", {}))
    process = _start_holder(database, what)
    window.request_all(report, requests, process.pid)
    taken = window.threads_and_descriptors()
    window.request_all(report, requests, process.pid)
    report.expect(window.threads_and_descriptors() <= taken, GROWN, what)
    _end(process)
    _expect_usable(report, window, requests[:1], what)


def _hold_opening(report: Report, folder: Path, database: Path) -> None:
    Window(folder, database).client.shutdown()
    first = Window(folder, database)
    params = {"sessionId": open_new(first.client), "events": [user_message("one")]}
    first.client.request("session/append", params)
    first.client.shutdown()
    process = _start_holder(database, "repair")
    window = Window(folder, database)
    window.request_all(report, [("session/list", {})], process.pid)
    _end(process)
    _expect_usable(report, window, [("session/list", {})], "repair")


def _expect_usable(
    report: Report, window: Window, requests: list[tuple[str, object]], what: str
) -> None:
    for method, params in requests:
        try:
            window.client.request(method, params)
        except RequestError as error:
            report.expect(False, NOT_RECOVERED, f"{what}: {error}")
    window.client.shutdown()
    report.count(what)


def run(report: Report, rng: random.Random) -> None:
    """Stop a process with each lock."""
    for _ in range(ROUNDS[report.size]):
        for what in HOLDERS:
            with ledger.folder_on_disk() as folder, silent_stderr():
                database = folder / "data" / "sessions.db"
                if what == "repair":
                    _hold_opening(report, folder, database)
                else:
                    _hold_writes(report, folder, database, what)
            if report.broken:
                return


if __name__ == "__main__":
    main(run)
