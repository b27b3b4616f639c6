"""Look for workspaces on mounts that hang, while other sessions of the same server go on.

The mounts are FUSE file systems that never answer. Where none can be mounted, the report's count
`skipped` says why.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from segue.cli.client import Client, RequestError
from tests import fuse
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import exits_within, sandbox, silent_stderr, user_message

ROUNDS: dict[Size, int] = {"short": 1, "long": 40}
BURST = 20
MAX_ANSWER_S = 2.5
"""The limit of 2 s, and what a busy machine adds to it."""

MAX_OTHERS_S = 0.5
MAX_EXIT_S = 3.0
"""Far below the 4.5 s after which a server that does not end by itself is ended."""

MAX_BACK_S = 5.0
MAX_THREADS = 5
MOUNTS = 7

ANSWERED = "a request for a folder that does not answer is refused within 2 s"
AT_ONCE = "a folder that is known not to answer is refused immediately"
OTHERS = "other requests are answered within 0.5 s meanwhile"
BY_ID = "a session opened by its id needs no folder"
FEW_THREADS = "a mount that hangs takes up one thread, and all mounts at most five"
BACK = "a folder that answers again is found"
ENDS = "the server ends within 3 s while threads hang"
SLOWEST = "slowest other request, ms"
STORED = "every acknowledged event is stored"


class Window:
    """A server, a session in a folder that answers, and how often it was appended to."""

    def __init__(self, report: Report, home: Path, folder: Path, **params: Any) -> None:
        self._report = report
        self.client = Client(home)
        self._folder = folder
        self.client.initialize(**params)
        opened = self.client.request("session/open", {"workspace": str(folder), "mode": "new"})
        self.session = str(opened["session"]["sessionId"])
        self.appended = 0
        self.append()

    def append(self) -> None:
        events = [user_message(str(self.appended))]
        self.client.request("session/append", {"sessionId": self.session, "events": events})
        self.appended += 1

    def go_on(self) -> None:
        """Make one request of each kind that needs no folder that hangs."""
        self._timed(self.append)
        where = {"workspace": str(self._folder)}
        self._timed(lambda: self.client.request("session/findResumable", where))
        self._timed(lambda: self.client.request("session/list", {"cwd": str(self._folder)}))
        self._timed(lambda: self.client.request("session/open", {**where, "mode": "new"}))

    def look(self, method: str, **params: str) -> int:
        self._report.count("requests for folders that hang")
        return self.client.send(method, params)

    def refusal(self, request: int, since: float, promise: str, limit_s: float) -> None:
        """Wait for the answer to a request for a folder that hangs."""
        answer = self.client.answer(request)
        took = time.monotonic() - since
        words = answer.get("error", {}).get("message", "")
        self._report.expect("does not answer" in words, promise, f"{answer}"[:300])
        self._report.expect(took <= limit_s, promise, f"{took:.2f} s")

    def _timed(self, act: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            act()
        except RequestError as error:
            self._report.expect(False, OTHERS, str(error))
        took = time.monotonic() - began
        self._report.expect(took <= MAX_OTHERS_S, OTHERS, f"{took:.2f} s")
        slowest = self._report.counts.get(SLOWEST, 0)
        self._report.counts[SLOWEST] = max(slowest, round(took * 1_000))
        self._report.count("other requests meanwhile")


def threads_of(client: Client) -> int:
    """Return how many threads the server has."""
    return len(list(Path(f"/proc/{client.process.pid}/task").iterdir()))


def one_mount(report: Report, window: Window, mount: Path) -> None:
    """Send many requests for folders on one mount that hangs."""
    window.go_on()
    threads = threads_of(window.client)
    began = time.monotonic()
    methods = [("session/findResumable", "workspace"), ("session/list", "cwd")]
    requests = [
        window.look(method, **{field: str(mount / str(number))})
        for number in range(BURST // 2)
        for method, field in methods
    ]
    # What a client sends after it was restarted: it must not wait for the folder.
    by_id = {"sessionId": window.session, "workspace": str(mount)}
    since = time.monotonic()
    opened = window.client.answer(window.client.send("session/open", by_id))
    took = time.monotonic() - since
    report.expect("result" in opened, BY_ID, f"{opened}"[:300])
    report.expect(took <= MAX_OTHERS_S, BY_ID, f"{took:.2f} s")
    window.go_on()
    for request in requests:
        window.refusal(request, began, ANSWERED, MAX_ANSWER_S)
    added = threads_of(window.client) - threads
    report.expect(added <= 1, FEW_THREADS, f"{added} more for one mount")
    since = time.monotonic()
    again = window.look("session/open", workspace=str(mount / "again"))
    window.refusal(again, since, AT_ONCE, MAX_OTHERS_S)
    window.go_on()


def many_mounts(report: Report, window: Window, mounts: list[Path]) -> None:
    """Send one request for each of many mounts that hang."""
    threads = threads_of(window.client)
    began = time.monotonic()
    requests = [window.look("session/open", workspace=str(mount / "x")) for mount in mounts]
    for request in requests:
        window.refusal(request, began, ANSWERED, MAX_ANSWER_S)
    added = threads_of(window.client) - threads
    report.expect(added <= MAX_THREADS, FEW_THREADS, f"{added} more for {len(mounts)} mounts")
    since = time.monotonic()
    window.refusal(window.look("session/open", workspace=str(mounts[-1])), since, AT_ONCE, 0.5)
    window.append()


def root_hangs(report: Report, home: Path, folder: Path, mount: Path, other: Path) -> None:
    """Start a server whose editor has its folder on a mount that hangs, and end it.

    A request for a folder on the *other* mount is not answered yet.
    """
    uri = f"file://{mount}/project"
    params = {"rootUri": uri, "workspaceFolders": [{"uri": uri, "name": "project"}]}
    window = Window(report, home, folder, **params)
    began = time.monotonic()
    request = window.look("session/open")
    window.append()
    window.refusal(request, began, ANSWERED, MAX_ANSWER_S)
    window.look("session/open", workspace=str(other))
    ended(report, window)


def ended(report: Report, window: Window) -> None:
    """Close the server's stdin while a thread hangs, and compare what is stored."""
    stdin: Any = window.client.process.stdin
    stdin.close()
    exited = exits_within(window.client.process.pid, MAX_EXIT_S)
    report.expect(exited, ENDS)
    window.client.kill()
    report.count("exits")


def answers_again(window: Window, mount: Path) -> bool:
    """Ask for a folder whose mount is gone until the thread that waited for it has noticed."""
    began = time.monotonic()
    while time.monotonic() - began < MAX_BACK_S:
        with contextlib.suppress(RequestError):
            window.client.request("session/findResumable", {"workspace": str(mount)})
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def _mounted(folders: list[Path]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(fuse.hanging(folder))
        yield


def one_round(report: Report, home: Path) -> None:
    """Run every case once, with new servers."""
    folder, mount = home / "project", home / "mount"
    many = [home / f"mount{number}" for number in range(MOUNTS)]
    for each in (folder, mount, *many):
        each.mkdir(exist_ok=True)
    window = Window(report, home, folder)
    with _mounted([mount, many[0]]):
        one_mount(report, window, mount)
        root_hangs(report, home, folder, mount, many[0])
    report.expect(answers_again(window, mount), BACK)
    with _mounted(many):
        many_mounts(report, window, many)
        ended(report, window)
    other = Window(report, home, folder)
    page = other.client.request("session/events", {"sessionId": window.session, "after": 0})
    report.expect(len(page["events"]) >= window.appended, STORED)
    report.count("acknowledged", window.appended)
    other.client.close_stdin()


def run(report: Report, chance: Random) -> None:
    """Run all cases in each round; nothing in them is random."""
    if (reason := fuse.unavailable()) is not None:
        report.counts["skipped"] = reason
        return
    with sandbox() as home, silent_stderr():
        for _ in range(ROUNDS[report.size]):
            try:
                one_round(report, home)
            except PermissionError as error:
                report.counts["skipped"] = str(error)
                return
            report.count("rounds")
            if report.has_failed:
                return


if __name__ == "__main__":
    main(run)
