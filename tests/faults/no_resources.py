"""Take threads, memory or descriptors away from real servers, and end their editor.

Each request is answered, with an error in words if it cannot be done; the server exits within five
seconds after its editor, even while the database is locked; what was acknowledged is stored.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from segue.cli import client
from segue.cli.client import Client, ServerGoneError
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import (
    Json,
    exits_within,
    sandbox,
    silent_stderr,
    user_message,
)

ROUNDS: dict[Size, int] = {"short": 1, "long": 10}
MAX_EXIT_S = 5.0
MIB = 1024 * 1024
MARGIN = 24 * MIB
"""How much memory a server may still take: enough to read the first of TOO_LONG, not to decode it;
not enough to read the second."""

TOO_LONG = (16 * MIB, 48 * MIB)

EDITOR = "import time; time.sleep(600)"

# The limit of processes does not hold for root: as another user, with the rights of root to files.
UNPRIVILEGED = ("setpriv", "--ruid=65534", "--bounding-set=-sys_resource,-sys_admin")


PROGRAM = """
import resource, signal, sys
kind, most, margin = getattr(resource, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
before = resource.getrlimit(kind)
def take(*_):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(kind, (size + margin if margin else most, before[1]))
signal.signal(signal.SIGUSR1, take)
signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(kind, before))
from segue.startup.compose import serve
sys.exit(serve([]))
"""
"""A server from which SIGUSR1 takes a resource away, until SIGUSR2."""

TAKEN = {
    "threads": ("RLIMIT_NPROC", "1", "0"),
    "memory": ("RLIMIT_AS", "0", str(MARGIN)),
    "descriptors": ("RLIMIT_NOFILE", "1", "0"),
}

ENDS = ("editor killed", "stdin closed", "SIGTERM")

IN_TIME = f"the server exits within {MAX_EXIT_S:.0f} s"
ANSWERED = "each request is answered"
IN_WORDS = "a request that cannot be done is answered in words"
SERVES_ON = "the server serves on when there are resources again"
ACKNOWLEDGED_STORED = "every acknowledged event is stored"


@dataclasses.dataclass(kw_only=True)
class Trial:
    """One server, and what was seen of it."""

    folder: Path
    taken: str
    end: str
    is_locked: bool
    """Whether another program holds the database's lock when the end begins."""

    broken: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    acknowledged: list[str] = dataclasses.field(default_factory=list)
    answered: int = 0
    refused: int = 0
    exit_s: float = 0.0

    def run(self) -> None:
        self.folder.mkdir()
        self._session = ""
        database = self.folder / "data" / "sessions.db"
        unprivileged = UNPRIVILEGED if self.taken == "threads" and os.geteuid() == 0 else ()
        with subprocess.Popen([sys.executable, "-c", EDITOR]) as editor:
            server = [sys.executable, "-c", PROGRAM, *TAKEN[self.taken]]
            environment = {"SEGUE_DATABASE": str(database)}
            self._client = Client(self.folder, environment, [*unprivileged, *server])
            try:
                self._client.initialize(processId=editor.pid)
                self._request_without()
                with _locked(database) if self.is_locked else contextlib.nullcontext():
                    if self.is_locked:
                        self._send_append("not acknowledged")
                    self._end(editor)
            except Exception as error:
                self._expect(False, SERVES_ON, repr(error))
            finally:
                editor.kill()
                self._client.kill()
        stored = asyncio.run(_stored(database, self._session)) if self._session else []
        lost = set(self.acknowledged) - set(stored)
        self._expect(not lost, ACKNOWLEDGED_STORED, f"lost {sorted(lost)[:5]}")

    def _request_without(self) -> None:
        if self.taken == "threads":
            self._signal(signal.SIGUSR1)
            # The store's thread cannot be started: the database cannot be opened.
            self._request("session/open", {"mode": "new"})
            self._signal(signal.SIGUSR2)
        opened = self._request("session/open", {"mode": "new"})
        self._session = opened["result"]["session"]["sessionId"]
        self._append("before")
        self._signal(signal.SIGUSR1)
        self._append("during")
        if self.taken == "memory":
            for length in TOO_LONG:
                self._append("x" * length)
            self._append("after too long ones")
        self._signal(signal.SIGUSR2)
        self._append("with resources again")
        self._expect("with resources again" in self.acknowledged, SERVES_ON)
        self._signal(signal.SIGUSR1)

    def _signal(self, number: int) -> None:
        self._client.process.send_signal(number)
        # Its handler has run when something that was sent later is answered.
        with contextlib.suppress(ServerGoneError):
            self._client.answer(self._client.send("nothing"))

    def _end(self, editor: "subprocess.Popen[bytes]") -> None:
        began = time.monotonic()
        if self.end == "editor killed":
            editor.kill()
            editor.wait()
        elif self.end == "SIGTERM":
            self._client.process.terminate()
        else:
            stdin: Any = self._client.process.stdin
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        exited = exits_within(self._client.process.pid, MAX_EXIT_S)
        self.exit_s = time.monotonic() - began
        self._expect(exited, IN_TIME)

    def _append(self, content: str) -> None:
        answer = self._answer(self._send_append(content))
        if "result" in answer:
            self.acknowledged.append(content[:100])

    def _send_append(self, content: str) -> int:
        event = user_message(content, id=content[:100])
        return self._client.send("session/append", {"sessionId": self._session, "events": [event]})

    def _request(self, method: str, params: Json) -> Json:
        return self._answer(self._client.send(method, params))

    def _answer(self, msg_id: int) -> Json:
        try:
            answer = self._client.answer(msg_id)
        except Exception as error:  # of a server that is gone, or did not answer
            self._expect(False, ANSWERED, repr(error))
            return {}
        self.answered += 1
        if "error" in answer:
            self.refused += 1
            words = answer["error"]["message"].partition(": ")[2]
            self._expect(len(words.split()) > 3, IN_WORDS, json.dumps(answer["error"]))
        return answer

    def _expect(self, holds: bool, promise: str, example: str = "") -> None:
        if not holds:
            locked = ", database locked" if self.is_locked else ""
            self.broken.append((promise, f"no {self.taken}, {self.end}{locked}: {example}"))


@contextlib.contextmanager
def _locked(database: Path) -> Iterator[None]:
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


async def _stored(database: Path, session: str) -> list[str]:
    service = await LocalSessionService.open(database)
    try:
        return [event.id for event in (await service.load_events(session, limit=1_000)).events]
    finally:
        await service.close()


def run(report: Report, _: Random) -> None:
    """Run a server for each resource and each end, with or without a locked database."""
    client.ANSWER_TIMEOUT_S = 20.0
    for number in range(ROUNDS[report.size]):
        with sandbox() as folder, silent_stderr():
            trials = [
                Trial(
                    folder=folder / f"{number}-{taken}-{end}-{is_locked}".replace(" ", "-"),
                    taken=taken,
                    end=end,
                    is_locked=is_locked,
                )
                for index, (taken, end) in enumerate(itertools.product(TAKEN, ENDS))
                for is_locked in (False, True)
                if report.size == "long" or is_locked == bool(index % 2)
            ]
            with concurrent.futures.ThreadPoolExecutor(len(trials)) as pool:
                list(pool.map(Trial.run, trials))
            for trial in trials:
                _add(report, trial)


def _add(report: Report, trial: Trial) -> None:
    for promise, example in trial.broken:
        report.expect(False, promise, example)
    report.count("servers")
    report.count(f"servers without {trial.taken}")
    report.count("answers", trial.answered)
    report.count("errors in words", trial.refused)
    report.count("acknowledged", len(trial.acknowledged))
    slowest = "slowest exit, s"
    report.counts[slowest] = round(max(trial.exit_s, report.counts.get(slowest, 0)), 2)


if __name__ == "__main__":
    main(run)
