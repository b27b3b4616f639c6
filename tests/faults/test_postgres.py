"""Fault programmes for the store on PostgreSQL, with their negative controls."""

from pathlib import Path

import pytest

from tests.faults import (
    ledger,
    postgres_cancelled,
    postgres_errors,
    postgres_isolation,
    postgres_no_statistics,
    postgres_silent,
    postgres_store,
    replication,
)
from tests.faults.postgres_isolation import ATTEMPTS, LOOKS
from tests.faults.runner import Guard, breaks, run_programme, run_without, without_all
from tests.store.postgres_server import find_programs

pytestmark = pytest.mark.skipif(not find_programs(), reason="there is no PostgreSQL")

API = "store/postgres/api_1.sql"
COMPARISON_OF_HEADS = Guard(
    file=API,
    code="""
                AND (u.head IS NOT DISTINCT FROM a_parent
                    OR (a_own_head AND u.head_invocation = a_invocation))
            RETURNING""",
    replacement=" RETURNING",
)
WAIT_FOR_THE_DISK = Guard(
    file="store/postgres/schema.sql",
    code="IF current_setting('synchronous_commit') IN ('off', 'local') THEN",
    replacement="IF false THEN",
)
SAME_IDS_ON_RETRY = Guard(
    file="store/postgres/append.py",
    code="codec.ids([event.id for event in self.events]),",
    replacement="codec.ids([Event.new(event.type, event.data).id for event in self.events]),",
)

SHIELD = Guard(
    file="store/postgres/client.py",
    code="asyncio.shield(asyncio.ensure_future(self._run(work, give_up_at)))",
    replacement="self._run(work, give_up_at)",
)

DEADLINE = Guard(
    file="store/postgres/wire.py",
    code="timer = loop.call_later(limit_s, self._expire, limit_s)",
    replacement="timer = loop.call_later(3_600, self._expire, limit_s)",
)
WHAT_IS_LEFT = Guard(
    file="store/postgres/client.py",
    code="ends_at = math.inf if self._failure is None else give_up_at",
    replacement="ends_at = math.inf",
)

# The first wall is what each function does; the second is row-level security, also for their owner.
OWN_ROWS = Guard(
    file=API,
    code="""SELECT NULL::text, s FROM segue.sessions s
        WHERE s.owner = a_owner AND s.id = a_session;""",
    replacement="SELECT NULL::text, s FROM segue.sessions s;",
)
OWN_NUMBER = Guard(
    file="store/postgres/schema.sql",
    code="IF segue.me() IS DISTINCT FROM a_owner THEN",
    replacement="IF false THEN",
)
SECOND_WALL = Guard(
    file="store/postgres/schema.sql",
    code="EXECUTE format('ALTER TABLE segue.%I FORCE ROW LEVEL SECURITY', name);",
    replacement="",
)

# No policy binds the functions that read what is shared: they must compare themselves with whom.
SHARING = "store/postgres/sharing_1.sql"
TO_WHOM = Guard(
    file=SHARING,
    code="JOIN segue.grants g ON g.grantee = roles.number",
    replacement="JOIN segue.grants g ON true",
)
HAS_THE_ROLE = Guard(
    file=SHARING,
    code="WHERE pg_has_role(session_user, r.oid, 'USAGE') AND g.owner",
    replacement="WHERE g.owner",
)
WHAT_IS_SHARED = Guard(
    file=SHARING,
    code="""AND s.id = a_id
        AND (s.number = g.session OR g.session = 0 AND s.at_repository = g.at_repository)""",
    replacement="AND s.id = a_id",
)

STORAGE_FULL = Guard(
    file="store/postgres/errors.py", code='"53100": (StorageFull,', replacement='"0": (StorageFull,'
)
REFUSALS_ARE_FINAL = Guard(
    file="store/postgres/errors.py", code="return self.advice is None", replacement="return True"
)

TOMBSTONE = Guard(file=API, code="    PERFORM segue.bury(a_owner, a_number);\n", replacement="")
LATER_REVISION = Guard(
    file="store/postgres/replicas_1.sql",
    code='WHERE r.value COLLATE "C" > coalesce(',
    replacement='WHERE r.value COLLATE "C" <> coalesce(',
)

ONE_LOOKUP_FOR_EACH_ID = Guard(
    file=API,
    code="""
        WHERE x.owner = a_owner AND x.session = a_number AND x.id >= g.id ORDER BY x.id LIMIT 1
    ) e WHERE e.id = g.id;
    IF a_fork_seq > 0 THEN""",
    replacement=" WHERE x.owner = a_owner AND x.session = a_number) e WHERE e.id = g.id;"
    " IF a_fork_seq > 0 THEN",
)


def test_crashes_and_ended_connections_lose_nothing() -> None:
    report = run_programme("postgres_storm")

    assert report.broken == []
    assert report.counts["crashes of the server"] >= 2
    assert report.counts["ended connections"] > 10
    assert report.counts["acknowledged"] > 200
    assert report.counts["HeadMoved conflicts"] > 10
    assert report.counts["reads"] > 20


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(COMPARISON_OF_HEADS, postgres_store.UNSEEN, id="heads not compared"),
        pytest.param(WAIT_FOR_THE_DISK, ledger.LOST, id="no wait for the disk"),
    ],
)
def test_control_storm(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert breaks(promise, "postgres_storm", guard, tmp_path)


def test_lost_answers_lose_nothing() -> None:
    report = run_programme("postgres_lost_answers")

    assert report.broken == []
    assert report.counts["lost answers"] > 50
    assert report.counts["duplicates on retry"] > 20


def test_control_lost_answers_with_new_ids_on_retry(tmp_path: Path) -> None:
    report = run_without(SAME_IDS_ON_RETRY, "postgres_lost_answers", tmp_path)

    assert ledger.DUPLICATED in report.violations


def test_cancelled_calls_are_stored_once_and_in_order() -> None:
    report = run_programme("postgres_cancelled")

    assert report.broken == []
    assert report.counts["cancelled"] > 1_000
    assert report.counts["stored"] > 2_000


def test_control_cancelled_without_the_shield(tmp_path: Path) -> None:
    report = run_without(SHIELD, "postgres_cancelled", tmp_path)

    assert postgres_cancelled.LOST in report.violations


def test_a_silent_server_is_given_up_in_time() -> None:
    report = run_programme("postgres_silent")

    assert report.broken == []
    assert report.counts["reads over a silent line: refused"] == postgres_silent.CALLS_AT_ONCE
    assert report.counts["appends with a stopped process: answered"] == 1


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param(DEADLINE, id="no deadline of a call"),
        pytest.param(WHAT_IS_LEFT, id="retries as long as first calls"),
    ],
)
def test_control_silent(guard: Guard, tmp_path: Path) -> None:
    assert postgres_silent.LATE in run_without(guard, "postgres_silent", tmp_path).violations


def test_nobody_sees_or_changes_what_another_one_has_stored() -> None:
    report = run_programme("postgres_isolation")

    assert report.broken == []
    assert report.counts["functions"] > 30
    assert report.counts["attempts"] > len(ATTEMPTS) + len(LOOKS) + 30
    assert report.counts["random calls"] == postgres_isolation.CALLS["short"]
    assert report.counts["refused"] > 300
    assert report.counts["rows of what is shared"] > 10


@pytest.mark.parametrize(
    "wall",
    [
        pytest.param([OWN_ROWS, OWN_NUMBER], id="without the first"),
        pytest.param([SECOND_WALL], id="without the second"),
    ],
)
def test_one_wall_is_enough(wall: list[Guard], tmp_path: Path) -> None:
    report = run_programme("postgres_isolation", package=without_all(wall, tmp_path))

    assert report.violations.keys() <= {postgres_isolation.ALLOWED}


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(OWN_ROWS, postgres_isolation.LEAK, id="a function without an account"),
        pytest.param(OWN_NUMBER, postgres_isolation.CHANGED, id="a number that is not compared"),
    ],
)
def test_control_isolation_without_both_walls(guard: Guard, promise: str, tmp_path: Path) -> None:
    package = without_all([guard, SECOND_WALL], tmp_path)

    report = run_programme("postgres_isolation", package=package, until=[promise])

    assert promise in report.violations


@pytest.mark.parametrize(
    "guards",
    [
        pytest.param([TO_WHOM, HAS_THE_ROLE], id="shared with others"),
        pytest.param([WHAT_IS_SHARED], id="not shared"),
    ],
)
def test_control_isolation_without_the_check_of_what_is_shared(
    guards: list[Guard], tmp_path: Path
) -> None:
    promise = postgres_isolation.LEAK
    package = without_all(guards, tmp_path)
    report = run_programme("postgres_isolation", package=package, until=[promise])

    assert promise in report.violations


def test_whatever_is_wrong_is_one_error_that_says_what_to_do() -> None:
    report = run_programme("postgres_errors")

    assert report.broken == []
    assert report.counts["situations"] >= 16


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(STORAGE_FULL, postgres_errors.WRONG_ERROR, id="no error of a full disk"),
        pytest.param(REFUSALS_ARE_FINAL, postgres_errors.SLOW, id="refusals are tried again"),
    ],
)
def test_control_errors(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "postgres_errors", tmp_path)
    if guard is STORAGE_FULL and "full table space skipped" in report.counts:
        pytest.skip(report.counts["full table space skipped"])

    assert promise in report.violations


@pytest.mark.timeout(400)
def test_machines_are_brought_in_step_through_a_server() -> None:
    report = run_programme("postgres_replication")

    assert report.broken == []
    counts = report.counts
    assert counts["histories"] == 12
    assert min(counts["requests lost"], counts["answers lost"], counts["interruptions"]) > 15
    assert min(counts["receive"], counts["send"], counts["changes"]) > 30


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(TOMBSTONE, replication.BACK, id="no tombstones"),
        pytest.param(LATER_REVISION, replication.DIFFERENT, id="an earlier change wins, too"),
    ],
)
def test_control_replication_through_a_server(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "postgres_replication", tmp_path, seed=1, until=[promise])

    assert promise in report.violations


def test_calls_cost_the_same_without_statistics() -> None:
    report = run_programme("postgres_no_statistics")

    assert report.broken == []
    assert report.counts["events"] == postgres_no_statistics.LARGE["short"]


def test_control_no_statistics_with_a_plain_join(tmp_path: Path) -> None:
    report = run_without(ONE_LOOKUP_FOR_EACH_ID, "postgres_no_statistics", tmp_path)

    assert postgres_no_statistics.GROWS in report.violations
