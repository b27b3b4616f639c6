"""Damage the write-ahead log that killed servers have left; then a new server opens the store.

SQLite takes a damaged frame for the end of the log. Whatever acknowledged event is missing after
that must have been reported to the first client, and the store must work.
"""

import random
from collections.abc import Callable
from pathlib import Path

from segue.cli.client import Client, RequestError
from tests.faults import ledger
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import open_new, silent_stderr

DAMAGES: dict[Size, int] = {"short": 10, "long": 1_000}
SESSIONS = 3
APPENDS = 15

SILENT = "acknowledged events are missing, and nobody was told"
FALSE_ALARM = "a client was told of missing events, and none is missing"
NOT_USABLE = "the store cannot be used after its log was damaged"


def _flip(log: bytearray, rng: random.Random) -> None:
    log[rng.randrange(32, len(log))] ^= 1 << rng.randrange(8)


def _cut(log: bytearray, rng: random.Random) -> None:
    del log[rng.randrange(len(log)) :]


def _wipe(log: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(log))
    end = min(len(log), begin + rng.choice((512, 4_096)))
    log[begin:end] = bytes(end - begin)


def _header(log: bytearray, rng: random.Random) -> None:
    log[rng.randrange(32)] ^= 1 << rng.randrange(8)


def _nothing(log: bytearray, rng: random.Random) -> None:
    pass


HARMS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flipped": _flip,
    "cut": _cut,
    "wiped": _wipe,
    "header": _header,
    "unharmed": _nothing,
}


def _write(folder: Path, database: Path, rng: random.Random) -> list[tuple[str, Ledger]]:
    """Let a server append to several sessions, and kill it; return what it acknowledged."""
    client = Client(folder, {"SEGUE_DATABASE": str(database)})
    client.initialize()
    sessions = [(open_new(client), Ledger(f"s{number}")) for number in range(SESSIONS)]
    for _ in range(APPENDS):
        session, kept = rng.choice(sessions)
        events = [ledger.event_json(name, 1_000) for name in kept.send(rng.randint(1, 3))]
        appended = client.request("session/append", {"sessionId": session, "events": events})
        kept.acknowledge((event["id"], event["seq"]) for event in appended["events"])
    client.kill()
    return [(session, kept) for session, kept in sessions if kept.acknowledged]


def _missing(client: Client, sessions: list[tuple[str, Ledger]]) -> tuple[int, list[str]]:
    """Return how many acknowledged events a new server does not serve, and its errors' kinds."""
    kinds: list[str] = []
    missing = 0
    for session, kept in sessions:
        stored: set[str] = set()
        for _ in range(3):
            try:
                page = client.request("session/events", {"sessionId": session, "limit": 1_000})
            except RequestError as error:
                kinds.append(error.kind or str(error.code))
            else:
                stored = {event["id"] for event in page["events"]}
                break
        missing += len(kept.acknowledged.keys() - stored)
    return missing, kinds


def _inflict(report: Report, name: str, rng: random.Random) -> None:
    with ledger.folder_on_disk() as folder:
        database = folder / "data" / "sessions.db"
        sessions = _write(folder, database, rng)
        log = Path(f"{database}-wal")
        content = bytearray(log.read_bytes())
        HARMS[name](content, rng)
        log.write_bytes(content)
        client = Client(folder, {"SEGUE_DATABASE": str(database)})
        client.initialize()
        missing, kinds = _missing(client, sessions)
        told = "StorageCorrupt" in kinds
        report.expect(told or not missing, SILENT, f"{name}: {missing} missing")
        report.expect(missing > 0 or not told, FALSE_ALARM, name)
        report.count("events missing, and reported", missing if told else 0)
        try:
            session = open_new(client)
            events = [ledger.event_json("afterwards")]
            client.request("session/append", {"sessionId": session, "events": events})
        except RequestError as error:
            report.expect(False, NOT_USABLE, f"{name}: {error}")
        client.shutdown()
        report.count(name)


def run(report: Report, rng: random.Random) -> None:
    """Damage the log of one store after the other, in every way."""
    names = list(HARMS)
    with silent_stderr():
        for number in range(DAMAGES[report.size]):
            _inflict(report, names[number % len(names)], rng)
            if report.broken:
                return


if __name__ == "__main__":
    main(run)
