"""Kill the real server repeatedly while a real client pipelines appends.

The client then does what the protocol asks of it: it restarts the server, opens its session by id
and resends, with the same ids, every append that was not acknowledged.
"""

import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segue.cli.client import Client, RequestError, ServerGoneError
from tests.faults import ledger
from tests.faults.ledger import Batch, Ledger
from tests.faults.runner import Report, Size, main

KILLS: dict[Size, int] = {"short": 20, "long": 2_000}
WINDOWS = 2
KILLS_PER_SESSION = 5
PIPELINED = 20
MAX_PAUSE_S = 0.001
"""The longest pause between two appends. Those that arrive together share a commit."""

MAX_KILL_DELAY_S = 0.003
"""The longest time from the last append to the kill: about what a slow append takes."""


class Window:
    """An editor window that appends all the time and whose server is killed."""

    def __init__(self, report: Report, database: Path, rng: random.Random) -> None:
        self._report = report
        self._database = database
        self._rng = rng
        self._ledger = Ledger("window")
        self._session = ""

    def run(self, kills: int) -> None:
        """Start and kill *kills* servers; complete and check each session after a few of them."""
        while kills and not self._report.broken:
            self._ledger, self._session = Ledger("window"), ""
            starts = min(kills, KILLS_PER_SESSION)
            for _ in range(starts):
                self._append_until_killed()
            self._append_the_rest()
            sessions = [(self._session, [self._ledger])]
            ledger.check_database(self._report, self._database, sessions)
            kills -= starts

    def _append_until_killed(self) -> None:
        client = self._started()
        for _ in range(PIPELINED):
            self._ledger.send(self._rng.randint(1, 3))
        due = self._ledger.unacknowledged()
        sent = self._send(client, due[: self._rng.randint(1, len(due))])
        time.sleep(self._rng.uniform(0, MAX_KILL_DELAY_S))
        client.kill()
        self._report.count("kills")
        for msg_id, batch in sent:
            with contextlib.suppress(ServerGoneError):
                self._record_response(client, msg_id, batch)
        left = set(self._ledger.unacknowledged())
        in_flight = any(batch in left for _, batch in sent)
        self._report.count("kills with appends in flight", int(in_flight))

    def _append_the_rest(self) -> None:
        client = self._started()
        for msg_id, batch in self._send(client, self._ledger.unacknowledged()):
            self._record_response(client, msg_id, batch)
        client.shutdown()
        missing = self._ledger.unacknowledged()
        self._report.expect(not missing, ledger.RETRY_REFUSED, f"{missing[:3]} after the last kill")

    def _started(self) -> Client:
        client = Client(self._database.parent, {"SEGUE_DATABASE": str(self._database)})
        client.initialize()
        self._session = self._opened(client)
        return client

    def _opened(self, client: Client) -> str:
        if self._session:
            try:
                self._open(client, sessionId=self._session)
                return self._session
            except RequestError as error:
                if error.kind != "SessionNotFound":
                    raise
                # A session is stored with its first event: until then it does not exist.
                self._report.expect(not self._ledger.acknowledged, ledger.LOST, str(error))
        return self._open(client, mode="new")

    def _open(self, client: Client, **params: str) -> str:
        return str(client.request("session/open", {**params, "tail": 0})["session"]["sessionId"])

    def _send(self, client: Client, due: list[Batch]) -> list[tuple[int, Batch]]:
        sent = []
        for batch in due:
            sent.append((self._append(client, batch), batch))
            time.sleep(self._rng.uniform(0, MAX_PAUSE_S))
        return sent

    def _append(self, client: Client, batch: Batch) -> int:
        events = [ledger.event_json(name) for name in batch]
        return client.send("session/append", {"sessionId": self._session, "events": events})

    def _record_response(self, client: Client, msg_id: int, batch: Batch) -> None:
        try:
            result = client.result(msg_id)
        except RequestError as error:
            example = f"{batch}: {error.kind} {error.message}"
            self._report.expect(False, ledger.RETRY_REFUSED, example)
            return
        self._ledger.acknowledge((event["id"], event["seq"]) for event in result["events"])
        self._report.count("acknowledged", len(batch))
        self._report.count("duplicates on retry", result["duplicates"])


def run(report: Report, rng: random.Random) -> None:
    """Kill the servers of two windows that share a database, and check each of their sessions."""
    with ledger.folder_on_disk() as folder, ThreadPoolExecutor(WINDOWS) as pool:
        database = folder / "sessions.db"
        seeds = [rng.random() for _ in range(WINDOWS)]
        windows = [Window(report, database, random.Random(seed)) for seed in seeds]
        share = KILLS[report.size] // WINDOWS
        list(pool.map(lambda window: window.run(share), windows))


if __name__ == "__main__":
    main(run)
