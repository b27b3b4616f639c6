"""Connections to PostgreSQL that are cut after a call has arrived, and before its answer has.

A proxy cuts one of five: at once, when the server has answered, or within the answer. Four writers
append to two sessions meanwhile.
"""

import asyncio
import random
import tempfile
from pathlib import Path

from tests.faults import postgres_store
from tests.faults.postgres_proxy import CUTS, Proxy
from tests.faults.postgres_store import Writer
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

APPENDS: dict[Size, int] = {"short": 400, "long": 10_000}
LOST = 0.2
SESSIONS = ("one", "two")
WRITERS = 4


async def append(report: Report, server: PostgresServer, folder: Path, rng: random.Random) -> None:
    """Append through the proxy, then compare what is stored with what was acknowledged."""
    role = postgres_store.add_role(server, "writer")
    proxy = Proxy(server.folder, lost=LOST, seed=rng.randrange(1 << 32))
    async with proxy.listen(folder):
        url = server.url(role).replace(str(server.folder), str(folder))
        direct = await postgres_store.open_service(server.url(role))
        firsts = {session: await postgres_store.begin(direct, session) for session in SESSIONS}
        services = [await postgres_store.open_service(url) for _ in range(WRITERS)]
        writers = [
            Writer(report, service, SESSIONS[number % len(SESSIONS)], f"writer-{number}")
            for number, service in enumerate(services)
        ]

        def goes_on() -> bool:
            begun = sum(len(writer.ledger.batches) for writer in writers)
            return begun < APPENDS[report.size] and not report.has_failed

        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                head = firsts[writer.session].batches[0][0]
                tasks.create_task(writer.write(head, goes_on, rng.randrange(1 << 32)))
        for service in (direct, *services):
            await service.close()
    report.count("appends", APPENDS[report.size])
    report.count("lost answers", sum(proxy.lost.values()))
    for cut in CUTS:
        report.count(f"lost {cut}", proxy.lost[cut])
    postgres_store.check_sessions(report, server, writers, firsts)


def run(report: Report, rng: random.Random) -> None:
    """Append, and lose answers."""
    with tempfile.TemporaryDirectory(prefix="segue-pg-") as folder:
        asyncio.run(append(report, postgres_store.start(report), Path(folder), rng))


if __name__ == "__main__":
    main(run)
