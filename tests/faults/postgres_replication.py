"""The machines of `replication`, with a PostgreSQL database as the store that they have in common.

In every fourth history the machines' own stores are such databases, too: then theirs are set aside
and forked there.
"""

import asyncio
from random import Random

from tests.faults import replication
from tests.faults.runner import Report, Size, main
from tests.store import postgres_server
from tests.store.stores import STORES

WORLDS: dict[Size, int] = {"short": 12, "long": 500}


def run(report: Report, rng: Random) -> None:
    """Run one history after the other, each with a seed of its own."""
    version = list(postgres_server.find_programs())[-1]
    report.counts["version"] = version
    asyncio.run(_run(report, rng, version))
    report.counts |= replication.COUNTS


async def _run(report: Report, rng: Random, version: str) -> None:
    for number in range(WORLDS[report.size]):
        seed = rng.randrange(1 << 32)
        local = STORES[version if number % 4 == 3 else "sqlite memory"]
        await replication.live(report, seed, STORES[version], local)
        replication.COUNTS["histories"] += 1
        if report.has_failed:
            return


if __name__ == "__main__":
    main(run)
