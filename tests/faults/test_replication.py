"""Stores that are brought in step over a wire that loses answers, and the negative controls."""

from pathlib import Path

import pytest

from tests.faults import replication
from tests.faults.runner import Guard, run_programme, run_without

SEED = 7


@pytest.mark.timeout(400)
def test_stores_are_brought_in_step() -> None:
    report = run_programme("replication")

    assert report.broken == []
    counts = report.counts
    assert counts["histories"] == 100
    assert min(counts["requests lost"], counts["answers lost"], counts["interruptions"]) > 300
    assert min(counts["fork"], counts["crashes"], counts["deleted"], counts["changes"]) > 20
    assert min(counts["delete here"], counts["delete there"]) > 20


@pytest.mark.parametrize(
    ("guard", "broken"),
    [
        pytest.param(
            Guard(
                file="store/replication.py",
                code="if await id_at(self._local, here, there.event_count) == there.head:",
                replacement="if False:",
            ),
            replication.NO_DIVERGENCE,
            id="ids are not compared before it is called a divergence",
        ),
        pytest.param(
            Guard(
                file="store/replication.py",
                code="        at = await id_at(self._local, here, common)\n",
                replacement="""        at = await id_at(self._local, here, common)
        base = attrs.evolve(there, event_count=common)
        return await self._extend(self._local, self._remote, here, base, "send")
""",
            ),
            replication.INTERLEAVED,
            id="no fork where both have grown",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/replicas.py",
                code='        raise HeadMoved(head, session["event_count"])\n',
                replacement="        pass\n",
            ),
            replication.INTERLEAVED,
            id="no check of the head",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/spans.py",
                code="        db.execute(_BURY, (session_id, own, "
                'session["source"] is not None))\n',
                replacement="",
            ),
            replication.BACK,
            id="no tombstones",
        ),
        pytest.param(
            Guard(
                file="store/replication.py",
                code="            rest = await self._keep_rest(store, copy, tombstone)\n",
                replacement="            pass\n",
            ),
            replication.NOWHERE,
            id="what a deleted session did not have is not kept",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/replicas.py",
                code='if revision > here.revisions.get(field, "")',
                replacement='if revision != here.revisions.get(field, "")',
            ),
            replication.LOST_CHANGE,
            id="an earlier change wins, too",
        ),
    ],
)
def test_control_replication(guard: Guard, broken: str, tmp_path: Path) -> None:
    report = run_without(guard, "replication", tmp_path, seed=SEED, until=[broken])
    assert broken in report.violations
