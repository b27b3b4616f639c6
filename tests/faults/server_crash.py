"""Kill the real server, again and again, in the middle of appends that a real client pipelines.

The client then does what every client may do: it starts the server anew, opens its session by its
id, and sends again, with the same ids, whatever was not acknowledged.
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
KILLS_OF_A_SESSION = 5
PIPELINED = 20
PAUSE_S = 0.001
"""How far apart they are sent at most: those that come together share a commit."""

LATEST_S = 0.003
"""How long after the last one is sent a kill may come: some appends take this long."""


class Window:
    """An editor window whose server is killed, and whose person never stops talking."""

    def __init__(self, report: Report, database: Path, rng: random.Random) -> None:
        self._report = report
        self._database = database
        self._rng = rng
        self._ledger = Ledger("window")
        self._session = ""

    def live(self, kills: int) -> None:
        """Be killed so many times, and be there once more at the end of each session."""
        while kills and not self._report.broken:
            self._ledger, self._session = Ledger("window"), ""
            lives = min(kills, KILLS_OF_A_SESSION)
            for _ in range(lives):
                self._one_life()
            self._last_life()
            sessions = [(self._session, [self._ledger])]
            ledger.check_database(self._report, self._database, sessions)
            kills -= lives

    def _one_life(self) -> None:
        client = self._started()
        for _ in range(PIPELINED):
            self._ledger.send(self._rng.randint(1, 3))
        due = self._ledger.unacknowledged()
        sent = self._send(client, due[: self._rng.randint(1, len(due))])
        time.sleep(self._rng.uniform(0, LATEST_S))
        client.kill()
        self._report.count("kills")
        for msg_id, batch in sent:
            with contextlib.suppress(ServerGoneError):
                self._note(client, msg_id, batch)
        left = set(self._ledger.unacknowledged())
        self._report.count("kills in the middle", int(any(batch in left for _, batch in sent)))

    def _last_life(self) -> None:
        client = self._started()
        for msg_id, batch in self._send(client, self._ledger.unacknowledged()):
            self._note(client, msg_id, batch)
        client.shutdown()
        missing = self._ledger.unacknowledged()
        self._report.expect(not missing, ledger.REFUSED, f"{missing[:3]} at last")

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
                # A session begins with its first event: before that was stored there is none.
                self._report.expect(not self._ledger.places, ledger.LOST, str(error))
        return self._open(client, mode="new")

    def _open(self, client: Client, **params: str) -> str:
        return str(client.request("session/open", {**params, "tail": 0})["session"]["sessionId"])

    def _send(self, client: Client, due: list[Batch]) -> list[tuple[int, Batch]]:
        sent = []
        for batch in due:
            sent.append((self._append(client, batch), batch))
            time.sleep(self._rng.uniform(0, PAUSE_S))
        return sent

    def _append(self, client: Client, batch: Batch) -> int:
        events = [ledger.wire(name) for name in batch]
        return client.send("session/append", {"sessionId": self._session, "events": events})

    def _note(self, client: Client, msg_id: int, batch: Batch) -> None:
        try:
            appended = client.result(msg_id)
        except RequestError as error:
            self._report.expect(False, ledger.REFUSED, f"{batch}: {error.kind} {error.message}")
            return
        self._ledger.acknowledge((event["id"], event["seq"]) for event in appended["events"])
        self._report.count("acknowledged", len(batch))
        self._report.count("found stored at a retry", appended["duplicates"])


def run(report: Report, rng: random.Random) -> None:
    """Kill the servers of two windows that share a database, and look at each of their sessions."""
    with ledger.on_disk() as folder, ThreadPoolExecutor(WINDOWS) as pool:
        database = folder / "sessions.db"
        seeds = [rng.random() for _ in range(WINDOWS)]
        windows = [Window(report, database, random.Random(seed)) for seed in seeds]
        share = KILLS[report.size] // WINDOWS
        list(pool.map(lambda window: window.live(share), windows))


if __name__ == "__main__":
    main(run)
