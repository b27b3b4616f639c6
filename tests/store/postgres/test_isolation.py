"""No role sees what another one has stored, whatever it tries; and the tables are out of reach."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from segue.store.postgres.service import PostgresSessionService
from tests.factories import contents, store_session, user_message
from tests.store.postgres_server import PostgresServer

TABLES = (
    "sessions", "events", "invocations", "spans", "metadata", "tombstones", "search_shards",
    "search_runs", "search_trigrams",
)  # fmt: skip


@pytest.fixture
def other(server: PostgresServer, tmp_path: Path) -> Iterator["psycopg.Connection[Any]"]:
    """Yield a connection of another user of the same store."""
    role = server.role_of(tmp_path / "other")
    with psycopg.connect(server.url(role), autocommit=True) as connection:
        yield connection


def account(server: PostgresServer, role: str) -> int:
    with psycopg.connect(server.url(role), autocommit=True) as connection:
        row = connection.execute("SELECT account FROM segue_1.hello('{}')").fetchone()
    assert row is not None
    return int(row[0])


def rows_of(connection: "psycopg.Connection[Any]", query: str) -> list[Any]:
    """Return the rows of a query, none if it is refused."""
    try:
        return connection.execute(query.encode()).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return []


@pytest.mark.parametrize("table", TABLES)
def test_no_login_touches_a_table(other: "psycopg.Connection[Any]", table: str) -> None:
    for setting in ("SET row_security = off", "SET search_path = segue", "SET ROLE segue_user"):
        other.execute(setting.encode())
        for sql in ("SELECT * FROM {}", "DELETE FROM {}", "UPDATE {} SET owner = 1", "TABLE {}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(sql.format(f"segue.{table}").encode())
    for role in ("segue_owner", "postgres"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(f"SET ROLE {role}".encode())


async def test_another_account_is_refused_or_finds_nothing(
    server: PostgresServer,
    service: PostgresSessionService,
    role: str,
    other: "psycopg.Connection[Any]",
) -> None:
    id = await store_session(service, user_message("private"), metadata={"key": 1})
    packed = f"'\\x00{id.replace('-', '')}'::bytea"
    number = account(server, role)
    calls = (
        f"session({number}, {packed})",
        f"page({number}, {packed}, 0, NULL, 10, 1000000)",
        f"open({number}, {packed}, 10, 1000000, NULL)",
        f"find_sessions({number}, '\\x00', '\\x02', 10)",
        f"list({number}, false, NULL, NULL, NULL, '', true, NULL, 9223372036854775807, 9, 9, 9)",
        f"places_below({number}, '', '/', '/', 9)",
        f"find_checkouts({number}, '', '', 9)",
        f"get_metadata({number}, {packed}, 'key')",
        f"find_metadata({number}, 'key', NULL, NULL)",
        f"all_sessions({number})",
        f"unindexed({number}, 99)",
        f"indexed_events({number}, 1, 1, 99, 99)",
        f"indexed({number})",
        f"begin_shard({number})",
        f"drop_index({number})",
        f"set_title({number}, {packed}, 'mine')",
        f"archive({number}, {packed}, true)",
        f"delete({number}, {packed})",
        f"due({number}, 0, true)",
    )
    for call in calls:
        found = rows_of(other, f"SELECT * FROM segue_1.{call} AS found")
        assert [row for row in found if id.replace("-", "") in repr(row)] == [], call
        assert "private" not in repr(found), call
        assert not any(isinstance(each, bytes) for row in found for each in row), call
    session = await service.get_session(id)
    assert (session.title, session.archived_at) == ("private", None)


async def test_a_function_that_forgets_its_account_finds_nothing(
    server: PostgresServer, service: PostgresSessionService, other: "psycopg.Connection[Any]"
) -> None:
    """The second wall; the control is the same function without it."""
    await store_session(service, user_message("private"))
    server.admin.execute(
        b"""
        SET ROLE segue_owner;
        CREATE OR REPLACE FUNCTION segue_1.forgetful() RETURNS bigint LANGUAGE sql
        SECURITY DEFINER AS 'SELECT count(*) FROM segue.events';
        RESET ROLE
        """
    )
    count = "SELECT segue_1.forgetful()"
    assert rows_of(other, count) == [(0,)]
    server.admin.execute(b"ALTER TABLE segue.events NO FORCE ROW LEVEL SECURITY")
    try:
        ((found,),) = rows_of(other, count)
        assert found > 0
    finally:
        server.admin.execute(b"ALTER TABLE segue.events FORCE ROW LEVEL SECURITY")
        server.admin.execute(b"DROP FUNCTION segue_1.forgetful()")


async def test_a_commit_is_durable_whatever_the_role_says(
    server: PostgresServer, service: PostgresSessionService, role: str, url: str
) -> None:
    server.admin.execute(f"ALTER ROLE {role} SET synchronous_commit = off".encode())
    with psycopg.connect(url) as connection:
        number = account(server, role)
        connection.execute("SELECT segue_1.delete(%s, '\\x00')", (number,))
        row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == ("on",)


FUNCTIONS = """
SELECT proname, array_agg(format_type(type, NULL) ORDER BY place) FROM pg_proc
CROSS JOIN unnest(proargtypes) WITH ORDINALITY AS given (type, place)
WHERE pronamespace = 'segue_1'::regnamespace GROUP BY pg_proc.oid, proname ORDER BY proname
"""


async def test_no_call_with_the_number_of_another_account_shows_or_changes_anything(
    server: PostgresServer,
    service: PostgresSessionService,
    role: str,
    other: "psycopg.Connection[Any]",
) -> None:
    id = await store_session(service, user_message("private"), directory="/private")
    number = account(server, role)
    rng = random.Random(7)
    session = b"\0" + bytes.fromhex(id.replace("-", ""))
    values: dict[str, list[Any]] = {
        "bigint": [0, 1, -1, (1 << 63) - 1, number],
        "integer": [0, 1, 20, 1 << 20],
        "boolean": [True, False],
        "text": ["", "/", "/private", "import", "private", None],
        "bytea": [session, b"", b"\x01", b"\xff" * 17, None],
        "double precision": [0.0, 100.0],
    }
    functions = server.admin.execute(FUNCTIONS.encode()).fetchall()
    assert len(functions) > 25
    for name, types in functions:
        for _ in range(40):
            arguments = []
            for type in types[1:]:
                if (element := type.removesuffix("[]")) in values:
                    chosen = rng.choices(values[element], k=rng.randint(0, 2))
                    chosen = chosen if type.endswith("[]") else rng.choice(values[element])
                else:
                    chosen = None
                arguments.append(chosen)
            marks = ", ".join(f"%s::{type}" for type in types)
            first = number if types[0] == "bigint" else None
            query = f"SELECT * FROM segue_1.{name}({marks}) AS found"
            try:
                said = repr(other.execute(query.encode(), (first, *arguments)).fetchall())
            except psycopg.Error as error:
                said = str(error)
            assert "private" not in said, query
    assert await contents(service, id) == ["private"]
    assert [each.id for each in (await service.list_sessions()).sessions] == [id]
