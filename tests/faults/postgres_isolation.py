"""A user of a PostgreSQL store who tries to see or change what another one has stored.

The intruder has a login of the store, a connection, and any SET. The attempts of a table are made
first. Then all functions of the API are called at random, with numbers, ids and keys of the other
account. What the victim has stored is marked: no answer may have a mark, and nothing may change.
The victim shares some of it with the intruder, which has another mark and must be seen, and some
with somebody else.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import attrs
import psycopg
from psycopg import sql

from segue.model.events import Event, new_id
from segue.model.imports import ImportedEvent
from segue.model.records import NewFork, NewSession, Origin, Timestamp
from segue.store.postgres import codec
from segue.store.postgres.service import PostgresSessionService
from tests.factories import INVOCATION, user_message
from tests.faults import postgres_store
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

CALLS: dict[Size, int] = {"short": 2_000, "long": 100_000}
CHECKED_EACH = 1_000

LEAK = "one user sees what another one has stored"
CHANGED = "one user changes what another one has stored"
ALLOWED = "an attempt is not refused"
NOT_TESTED = "the attempt was not made"
UNSAFE_SETTING = "a setting of the intruder changes whose data a function sees"

UNSEEN = "what is shared is not seen"

MARK = f"canary{secrets.token_hex(4)}"
SHARED = f"shared{secrets.token_hex(4)}"
PLACE = f"/home/{MARK}/project"
PRIVATE = "private/all"
INTRUDER, GROUP, OTHER = "intruder", "group_of_intruder", "somebody_else"
TABLES = (
    "sessions", "events", "invocations", "spans", "metadata", "tombstones", "grants",
    "search_shards", "search_runs", "search_trigrams",
)  # fmt: skip

ATTEMPTS = (
    # Tables, directly.
    "SELECT * FROM segue.sessions",
    "SELECT data FROM segue.events",
    "SELECT * FROM segue.metadata",
    "TABLE segue.spans",
    "COPY segue.events TO STDOUT",
    "LOCK TABLE segue.sessions",
    "UPDATE segue.sessions SET archived_at = 1",
    "DELETE FROM segue.events",
    "TRUNCATE segue.events",
    "INSERT INTO segue.tombstones VALUES ({victim}, '\\x00')",
    "SELECT value FROM segue.secret",
    "SELECT segue.channel({victim})",
    "SELECT segue.announce({victim})",
    "SELECT nextval('segue.sessions_number_seq')",
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM segue.events",
    "PREPARE p AS SELECT * FROM segue.events",
    "EXPLAIN ANALYZE SELECT * FROM segue.events",
    "CREATE VIEW pg_temp.v AS SELECT * FROM segue.events",
    # Who one is.
    "SET ROLE segue_owner",
    "SET ROLE {role}",
    "SET SESSION AUTHORIZATION {role}",
    "SET SESSION AUTHORIZATION segue_owner",
    "GRANT segue_owner TO CURRENT_USER",
    "GRANT {role} TO CURRENT_USER",
    "ALTER ROLE {role} PASSWORD 'x'",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE ROLE other SUPERUSER",
    "ALTER ROLE {role} RENAME TO other",
    # The walls.
    "ALTER TABLE segue.events DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE segue.events NO FORCE ROW LEVEL SECURITY",
    "CREATE POLICY all_rows ON segue.events USING (true)",
    "DROP POLICY own ON segue.events",
    "ALTER FUNCTION segue_1.sizes(bigint) OWNER TO CURRENT_USER",
    "CREATE OR REPLACE FUNCTION segue.me() RETURNS bigint LANGUAGE sql AS 'SELECT {victim}'",
    "CREATE FUNCTION segue_1.everything() RETURNS SETOF segue.events LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE sql COST 0.0001 AS 'SELECT true'",
    "CREATE SCHEMA mine",
    "CREATE TEMP TABLE sessions (owner bigint)",
    "CREATE EXTENSION dblink",
    "SELECT segue.me()",
    "SELECT segue.clock()",
    "SELECT * FROM segue.find_events({victim}, 1, 0, ARRAY['\\x00'::bytea])",
    "SELECT segue.delete_session({victim}, 1)",
    # Processes and files of the server.
    "SELECT * FROM pg_statistic",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('base')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
    "LOAD 'auto_explain'",
    "SELECT pg_reload_conf()",
)
"""What is refused; `victim` is the number of the other account, `role` its role."""

LOOKS = (
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_stats",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_cursors",
    "SELECT * FROM pg_class",
    "SELECT * FROM information_schema.columns",
    "SELECT * FROM pg_largeobject_metadata",
)
"""What is answered, and tells nothing of what is stored."""

SETTINGS = (
    "row_security = off",
    "row_security = on",
    "search_path = segue, public",
    "search_path = pg_temp, segue, segue_1",
    "check_function_bodies = off",
    "session_replication_role = replica",
    "default_transaction_read_only = on",
    "default_transaction_isolation = serializable",
    "client_min_messages = debug5",
    "debug_print_plan = on",
    "plan_cache_mode = force_custom_plan",
    "enable_indexscan = off",
    "segue.account = '{victim}'",
    "segue.role = '{role}'",
    "role = segue_user",
    "role = '{role}'",
    "session_authorization = '{role}'",
    "application_name = '{role}'",
    "standard_conforming_strings = off",
    "client_encoding = 'SQL_ASCII'",
    "synchronous_commit = off",
    "lock_timeout = 0",
    "constraint_exclusion = on",
    "jit_above_cost = 0",
    "bytea_output = escape",
    "extra_float_digits = 3",
    "xmlbinary = hex",
)
"""Under each of these, the functions are called for the other account."""

_LAST = str((1 << 63) - 1)
_READS = {
    "session": {"a_session": "{id}"},
    "page": {"a_session": "{id}", "a_after": "0", "a_limit": "100", "a_bytes": "1000000"},
    "open": {"a_session": "{id}", "a_tail": "100", "a_bytes": "1000000"},
    "find_sessions": {"a_low": "'\\x00'", "a_high": "'\\x02'", "a_limit": "100"},
    "list": {
        "a_by_prompt": "false",
        "a_archived": "true",
        "a_time": _LAST,
        "a_number": _LAST,
        "a_limit": "100",
        "a_looked_at": "100",
    },
    "find_metadata": {"a_key": "'key'"},
    "versions": {"a_after": "'\\x00'", "a_limit": "100"},
    "read_replica": {"a_session": "{id}"},
    "all_sessions": {},
    "neighbours": {"a_above": "'{\"\\\\x00\"}'", "a_below": "'{\"\\\\x02\"}'"},
    "fork_facts": {"a_session": "{id}", "a_fork": "{id}"},
    "list_all": {
        "a_by_prompt": "false",
        "a_archived": "true",
        "a_time": _LAST,
        "a_number": _LAST,
        "a_limit": "100",
        "a_looked_at": "100",
    },
    "shared_by": {"a_session": "{id}"},
    "search_shared": {
        "a_patterns": "'{%}'",
        "a_title_patterns": "'{%}'",
        "a_folds": "false",
        "a_archived": "true",
        "a_updated_at": _LAST,
        "a_number": _LAST,
        "a_seq": _LAST,
        "a_limit": "99",
        "a_bytes": "99999",
        "a_milliseconds": "99",
    },
    "search": {
        "a_patterns": "'{%}'",
        "a_title_patterns": "'{%}'",
        "a_folds": "false",
        "a_archived": "true",
        "a_updated_at": _LAST,
        "a_number": _LAST,
        "a_seq": _LAST,
        "a_limit": "9",
        "a_bytes": "9999",
        "a_milliseconds": "9",
    },
}
"""Calls that would find all, and their arguments; the others are null."""

_RECORDS = """
SELECT format_type(t.oid, NULL), array(
    SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = t.typrelid
    ORDER BY a.attnum
) FROM pg_type t WHERE t.typnamespace = 'segue_1'::regnamespace AND t.typtype = 'c'
"""

_FUNCTIONS = """
SELECT p.proname, array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t), p.proargnames
FROM pg_proc p WHERE p.pronamespace = 'segue_1'::regnamespace ORDER BY p.oid
"""


@attrs.frozen
class Victim:
    """The account that is attacked, and what an intruder may know of it."""

    role: str
    number: int
    ids: list[bytes]
    private: list[bytes]
    """Those ids and keys that nothing has which is shared."""
    integers: list[int]


async def store(server: PostgresServer, role: str) -> None:
    """Store marked conversations of every kind: a fork, an import, a deleted one, metadata."""
    service = await postgres_store.open_service(server.url(role))
    ids = [new_id() for _ in range(4)]
    origin = Origin(client_name=MARK, client_version=MARK, agent=MARK, model=MARK, branch=MARK)
    for id in ids:
        new = NewSession(
            id=id,
            directory=PLACE,
            git_root=PLACE,
            git_common_dir=f"{PLACE}/.git",
            repository=PRIVATE,
            server_session_id=MARK,
            metadata={"key": MARK},
        )
        events = [user_message(f"{MARK} {part}", id=f"{id}-{part}") for part in range(5)]
        await service.create_session(
            new, events, invocation_id=INVOCATION, origin=origin, hold=id == ids[0]
        )
    await service.fork_session(ids[0], NewFork(id=new_id(), at=f"{ids[0]}-2"))
    imported_id, deleted_id = new_id(), new_id()
    for id in (imported_id, deleted_id):
        event = ImportedEvent(
            event=Event.new("text", {"content": MARK}, f"{id}-1"), created_at=Timestamp(1)
        )
        imported = NewSession(id=id, directory=PLACE, source=MARK)
        await service.import_session(imported, [event], title=MARK, state={"seen": MARK})
    await service.delete(deleted_id)
    await service.set_title(ids[1], MARK)
    await service.archive(ids[2])
    await service.find_resumable(PLACE, PLACE, timedelta(days=1))
    await share_some(service, ids[3])
    await service.close()


async def share_some(service: PostgresSessionService, private: str) -> None:
    """Share a session, a fork of a private one, and a repository; and others with others only."""
    sharing = service.sharing
    shared = [await store_shared(service, repository) for repository in (None, f"{SHARED}/all")]
    await sharing.share(shared[0], None, INTRUDER, revoked=False)
    await sharing.share(None, f"{SHARED}/all", GROUP, revoked=False)
    origin = await store_shared(service, None)
    fork = await service.fork_session(origin, NewFork(id=new_id()))
    later = [user_message(MARK)]
    last = f"{origin}-2"
    await service.append_events(origin, later, parent_id=last, invocation_id=INVOCATION)
    await service.set_title(origin, MARK)
    await service.update_server_session_id(origin, MARK)
    await sharing.share(fork.id, None, GROUP, revoked=False)
    for revoked in (False, True):
        await sharing.share(private, None, INTRUDER, revoked=revoked)
        await sharing.share(None, PRIVATE, GROUP, revoked=revoked)
    await sharing.share(private, None, OTHER, revoked=False)
    await sharing.share(None, PRIVATE, OTHER, revoked=False)


async def store_shared(service: PostgresSessionService, repository: str | None) -> str:
    """Store a session that has the mark of what is shared, and metadata that are not."""
    place = f"/home/{SHARED}"
    new = NewSession(id=new_id(), directory=place, repository=repository, metadata={"key": MARK})
    events = [user_message(f"{SHARED} {part}", id=f"{new.id}-{part}") for part in range(3)]
    await service.create_session(new, events, invocation_id=SHARED)
    return new.id


class Intruder:
    """Makes attempts on a connection of another user."""

    def __init__(
        self, report: Report, server: PostgresServer, victim: Victim, rng: random.Random
    ) -> None:
        self._report = report
        self._victim = victim
        self._rng = rng
        self._url = server.url(INTRUDER)
        self._admin = psycopg.connect(server.url(), autocommit=True)
        self._connection = psycopg.connect(self._url, autocommit=True)
        self._functions = self._admin.execute(_FUNCTIONS).fetchall()
        self._fields: dict[str, list[str]] = dict(self._admin.execute(_RECORDS).fetchall())
        report.counts["functions"] = len(self._functions)
        self._before = self._stored()
        self._marks = [MARK.encode(), MARK.encode().hex().encode()]
        # Only until the intruder has stored such ids.
        self._id_marks = [*victim.private, *(id.hex().encode() for id in victim.private)]
        self._own_number = self._ask("SELECT account FROM segue_1.hello('{}')")[0][0]

    def attempt_all(self) -> None:
        """Make all attempts of the tables."""
        for attempt in ATTEMPTS:
            refusal = self._attempt(self._filled(attempt))
            self._report.expect(refusal is not None, ALLOWED, attempt)
        for look in LOOKS:
            refusal = self._attempt(look)
            self._report.expect(refusal is None, NOT_TESTED, f"{look}: {refusal}")
        calls = self._reads()
        for setting in SETTINGS:
            connection = psycopg.connect(self._url, autocommit=True)
            self._connection, before = connection, self._connection
            refusal = self._attempt(self._filled(f"SET {setting}"), is_setting=True)
            self._report.count("settings refused" if refusal else "settings accepted")
            for call in calls:
                self._attempt(call, is_setting=True)
            ((own,),) = self._ask("SELECT account FROM segue_1.hello('{}')")
            self._report.expect(own == self._own_number, UNSAFE_SETTING, setting)
            self._connection = before
            connection.close()
        self._check("attempts")

    def _reads(self) -> list[str]:
        calls = []
        for name, types, names in self._functions:
            if name in _READS:
                for owner in ("{victim}", str(self._own_number)):
                    given = {"a_owner": owner, **_READS[name]}
                    arguments = (
                        f"{given.pop(each, 'NULL')}::{type}"
                        for type, each in zip(types, names, strict=False)
                    )
                    call = f"SELECT * FROM segue_1.{name}({', '.join(arguments)})"
                    calls.append(self._filled(call))
                    self._report.expect(not given, NOT_TESTED, f"{name} has no {given}")
        self._report.expect(len(calls) == 2 * len(_READS), NOT_TESTED, f"{len(calls)} calls")
        return calls

    def call_for_another(self) -> None:
        """Call each function of an account with the number of the other one."""
        for name, types, _ in self._functions:
            if types[:1] == ["bigint"]:
                rest = ", ".join("NULL::" + each for each in types[1:])
                call = f"SELECT segue_1.{name}({', '.join(filter(None, ('{victim}', rest)))})"
                refusal = self._attempt(self._filled(call))
                self._report.expect("not this account" in str(refusal), ALLOWED, call)

    def call_at_random(self) -> None:
        """Call the functions with arguments of the other account."""
        self._id_marks = []
        connection = self._connection
        for number in range(CALLS[self._report.size]):
            name, types, _ = self._rng.choice(self._functions)
            # As the store's own client does: its fields, and one statement a call.
            values = [self._value(each) for each in types]
            if types[:1] == ["bigint"] and self._rng.random() < 0.9:
                values[0] = self._rng.choice((self._victim.number, self._own_number))
            self._call(connection, str(name), types, values)
            if number % CHECKED_EACH == 0:
                self._check("random calls")
        self._check("random calls")

    def _call(
        self, connection: "psycopg.Connection[Any]", name: str, types: list[str], values: list[Any]
    ) -> None:
        arguments = sql.SQL(", ").join(sql.SQL(self._placeholder(each)) for each in types)
        call = sql.SQL("SELECT * FROM segue_1.{}({})").format(sql.Identifier(name), arguments)
        flat = [
            each for value in values for each in (value if isinstance(value, tuple) else (value,))
        ]
        self._report.count("random calls")
        try:
            found = connection.execute(call, flat, binary=True).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            self._report.count("refused")
        except psycopg.Error as error:
            self._report.count(f"errors {error.sqlstate}")
        else:
            self._report.count("rows", len(found))
            self._look(found, f"{name}({flat})")

    def _placeholder(self, type: str) -> str:
        if type not in self._fields:
            return "%s::" + type
        return f"ROW({', '.join('%s::' + each for each in self._fields[type])})::{type}"

    def _value(self, type: str) -> Any:
        if self._rng.random() < 0.1:
            return (None,) * len(self._fields[type]) if type in self._fields else None
        if type in self._fields:
            return tuple(self._value(each) for each in self._fields[type])
        if type.endswith("[]"):
            return [self._value(type[:-2]) for _ in range(self._rng.choice((0, 1, 1, 2, 5)))]
        return self._rng.choice(self._values[type])()

    @property
    def _values(self) -> dict[str, list[Callable[[], Any]]]:
        rng, victim = self._rng, self._victim
        number = [
            lambda: rng.choice(victim.integers),
            lambda: victim.number,
            lambda: self._own_number,
            lambda: rng.choice((0, 1, -1, (1 << 63) - 1, -(1 << 63), rng.getrandbits(62))),
        ]
        small = [lambda: rng.choice((0, 1, 2, 5, 100, -1, (1 << 31) - 1))]
        return {
            "bigint": number,
            "integer": small,
            "boolean": [lambda: rng.random() < 0.5],
            "jsonb": [
                lambda: rng.choice(("{}", '{"title": "0"}', '{"metadata/key": "2", "origin": "9"}'))
            ],
            "double precision": [lambda: rng.choice((0.0, 1.0, 50.0))],
            "bit varying": [lambda: rng.choice(("", "1", "0" * 16_384, "1" * 16_384))],
            "text": [
                lambda: rng.choice(("%", "key", "", "user_message", "acp.agents", "\\u", "x")),
                lambda: rng.choice((PRIVATE, f"{SHARED}/all", INTRUDER, GROUP, OTHER, victim.role)),
            ],
            "bytea": [
                lambda: rng.choice(victim.ids),
                lambda: rng.choice((b"", b"\0", b"\1", b"\2", rng.randbytes(17))),
            ],
        }

    def _filled(self, attempt: str) -> str:
        victim = self._victim
        id = f"'\\x{victim.ids[0].hex()}'::bytea"
        return (
            attempt.replace("{victim}", str(victim.number))
            .replace("{role}", victim.role)
            .replace("{id}", id)
        )

    def _attempt(self, statement: str, *, is_setting: bool = False) -> str | None:
        """Make an attempt and look at what it finds; return why it was refused."""
        self._report.count("calls under a setting" if is_setting else "attempts")
        try:
            with self._connection.cursor() as cursor:
                if statement.startswith("COPY"):
                    with cursor.copy(statement.encode()) as copy:
                        self._look([bytes(part) for part in copy], statement)
                else:
                    cursor.execute(statement.encode())
                    if cursor.description is not None:
                        self._look(cursor.fetchall(), statement, ignored=statement.encode())
        except psycopg.Error as error:
            state = error.sqlstate or "42"
            is_no_attempt = state != "42501" and state.startswith(("0A", "22P", "42"))
            self._report.expect(not is_no_attempt, NOT_TESTED, f"{statement}: {error}")
            return str(error)
        return None

    def _look(self, found: Iterable[Any], where: str, *, ignored: bytes = b"") -> None:
        """Report marks among the values that were *found*, but for what the call itself gave."""
        for row in found:
            said = b" ".join(_flat(row))
            if SHARED.encode() in said or SHARED.encode().hex().encode() in said:
                self._report.count("rows of what is shared")
            for mark in (*self._marks, *self._id_marks):
                self._report.expect(mark not in said or mark in ignored, LEAK, where[:200])

    def _ask(self, query: str) -> list[Any]:
        return self._connection.execute(query.encode()).fetchall()

    def _check(self, where: str) -> None:
        self._report.expect(self._stored() == self._before, CHANGED, where)

    def _stored(self) -> list[Any]:
        """Return all rows of the victim."""
        return [
            self._admin.execute(
                f"SELECT t::text FROM segue.{table} t WHERE owner = %s ORDER BY 1".encode(),
                (self._victim.number,),
            ).fetchall()
            for table in TABLES
        ]


def _flat(value: Any) -> Iterable[bytes]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value)
    else:
        yield str(value).encode()


def learn(server: PostgresServer, role: str) -> Victim:
    """Return all numbers, ids and keys that the account of *role* has."""
    with psycopg.connect(server.url(role), autocommit=True) as own:
        ((number,),) = own.execute("SELECT account FROM segue_1.hello('{}')").fetchall()
    ids: dict[bytes, None] = {}
    marked: set[bytes] = set()
    shared: set[bytes] = set()
    integers: dict[int, None] = {number: None}
    with psycopg.connect(server.url()) as admin:
        for table in TABLES:
            rows = admin.execute(
                f"SELECT * FROM segue.{table} WHERE owner = %s".encode(),
                (number,),
            ).fetchall()
            for row, value in [(each, value) for each in rows for value in each]:
                if isinstance(value, bytes) and len(value) > 8:
                    ids[value] = None
                    said = b" ".join(_flat(row))
                    if SHARED.encode() in said:
                        shared.add(value)
                    elif MARK.encode() in said:
                        marked.add(value)
                elif isinstance(value, int) and not isinstance(value, bool):
                    integers[value] = None
    for session in (id for id in ids if id[0] == 0 and len(id) == 17):
        integers[codec.hold_key(number, codec.unpack(session))] = None
    # An id that has the mark would be found where the intruder itself has stored it.
    known = [id for id in ids if MARK.encode() not in id]
    return Victim(role, number, known, sorted(marked - shared), list(integers))


def run(report: Report, rng: random.Random) -> None:
    """Store, attack, and compare."""
    server = postgres_store.start(report)
    role = postgres_store.add_role(server, "victim")
    for name in (INTRUDER, OTHER):
        postgres_store.add_role(server, name)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {GROUP} NOLOGIN".encode())
        admin.execute(f"GRANT {GROUP} TO {INTRUDER}".encode())
    asyncio.run(store(server, role))
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("ANALYZE")
    with psycopg.connect(server.url(role), autocommit=True) as online:
        online.execute(f"SELECT '{MARK}'".encode())
        intruder = Intruder(report, server, learn(server, role), rng)
        intruder.attempt_all()
        intruder.call_for_another()
        intruder.call_at_random()
        report.expect(report.counts["rows of what is shared"] > 0, UNSEEN, "in no answer")


if __name__ == "__main__":
    main(run)
