"""Makes a store in a database, and adds and removes its users: what an administrator does."""

import hashlib
import re
from importlib import resources
from typing import Any, Literal

import psycopg
from psycopg import sql

from segue.model.database_reports import DatabaseSetupError, UserContents
from segue.store.postgres.address import Address

LOCK_TIMEOUT = "3s"
STATEMENT_TIMEOUT = "4s"
IDLE_TIMEOUT = "15s"
"""The server's limits are shorter than the client's, so that it says what was waited for."""

LIMITS = {
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
}

TABLES = (
    "events", "spans", "invocations", "metadata", "tombstones", "grants", "search_trigrams",
    "search_runs", "search_shards", "sessions",
)  # fmt: skip

MIN_VERSION = 14

_CALLS = ("api_1.sql", "replicas_1.sql", "following_1.sql", "sharing_1.sql")
_ROLES = ("segue_owner", "segue_user", "segue_reader", "segue_admin")

Connection = psycopg.Connection[Any]


def connect(url: str, **parameters: str) -> Connection:
    """Return a connection, which the caller closes; it commits each statement by itself.

    *parameters* replace those of the URL.
    """
    return psycopg.connect("", autocommit=True, **Address.parse(url).parameters | parameters)


# -- the store -------------------------------------------------------------------------------------


def create_store(url: str) -> Literal["created", "updated", "unchanged"]:
    """Create the roles, the tables and the functions; bring the functions of a store up to date.

    All or nothing. *url* is that of a superuser, or of the owner of the database who may create
    roles. Raises psycopg.Error, or DatabaseSetupError if this is no database for a store.
    """
    with connect(url) as connection, connection.transaction():
        _check_server(connection)
        state = store_state(connection)
        if state == "none":
            _check_is_unused(connection)
            _run(connection, "roles.sql")
            _run(connection, "schema.sql")
            _sign(connection, "segue", "schema.sql")
        elif state == "outdated":
            _drop_functions(connection)
        if state != "present":
            for file in _CALLS:
                _run(connection, file)
            _sign(connection, "segue_1", *_CALLS)
        database = sql.Identifier(connection.info.dbname)
        # A plan that is made anew for each array costs more than the append itself.
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET plan_cache_mode = force_generic_plan").format(database)
        )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO segue_user").format(database))
    outcomes: dict[str, Literal["created", "updated", "unchanged"]] = {
        "none": "created",
        "outdated": "updated",
        "present": "unchanged",
    }
    return outcomes[state]


def create_database(url: str) -> str | None:
    """Create the database of *url* if the server has none of its name; return the name then.

    Raises psycopg.Error.
    """
    parameters = Address.parse(url).parameters
    name = parameters.get("dbname")
    if not name:
        return None
    with connect(url, dbname="postgres") as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, (name,)).fetchone() is not None:
            return None
        is_named = connection.info.server_version >= 150_000
        provider = sql.SQL("LOCALE_PROVIDER libc" if is_named else "")
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' LOCALE 'C' {} TEMPLATE template0").format(
                sql.Identifier(name), provider
            )
        )
    return str(name)


def store_state(connection: Connection) -> Literal["none", "present", "outdated"]:
    """Return whether the database has a store, and whether its functions are those of this version.

    Raises DatabaseSetupError for one of another version, whose tables may be others.
    """
    query = """
    SELECT n.nspname, coalesce(obj_description(n.oid, 'pg_namespace'), '')
    FROM pg_namespace n WHERE n.nspname ~ '^segue(_[0-9]+)?$'
    """
    found = dict(connection.execute(query).fetchall())
    if not found:
        return "none"
    if later := max(found.keys() - {"segue", "segue_1"}, default=None):
        raise DatabaseSetupError(
            f"the database has the schema {later} of a later version of Segue. Install that version"
        )
    if found.keys() != {"segue", "segue_1"} or found["segue"] != _signature("schema.sql"):
        raise DatabaseSetupError(
            "the database has a schema segue that this version of Segue did not make. Name another "
            "database, or install the version that made it"
        )
    return "present" if found["segue_1"] == _signature(*_CALLS) else "outdated"


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < MIN_VERSION * 10_000:
        version = connection.info.parameter_status("server_version")
        raise DatabaseSetupError(
            f"the server is PostgreSQL {version}. Segue needs version {MIN_VERSION} or later"
        )
    if show(connection, "server_encoding") != "UTF8":
        raise DatabaseSetupError(
            f"the database has the encoding {show(connection, 'server_encoding')}. Name one that "
            "does not exist yet, and it is created with UTF8"
        )
    if show(connection, "in_hot_standby") == "on":
        raise DatabaseSetupError("the server is a standby. Give the URL of its primary")


def _check_is_unused(connection: Connection) -> None:
    name = connection.info.dbname
    if name in ("postgres", "template0", "template1"):
        raise DatabaseSetupError(
            f"the database {name} is the server's own. Name one in the URL that is only for Segue, "
            "such as postgresql://HOST/segue; it is created if it does not exist"
        )
    query = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'm') AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
        AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT 1 FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
    LIMIT 1
    """
    if (other := connection.execute(query).fetchone()) is not None:
        raise DatabaseSetupError(
            f"the database {name} is used by something else: it has the table {other[0]}. Name one "
            "that is only for Segue, because nobody else may connect to it afterwards; it is "
            "created if it does not exist"
        )


def _drop_functions(connection: Connection) -> None:
    """Drop what the files of the calls make: those, and the functions that only they use."""
    connection.execute("DROP SCHEMA segue_1 CASCADE")
    kept = re.findall(r"CREATE FUNCTION segue\.(\w+)", _text("schema.sql"))
    query = """
    SELECT format('DROP FUNCTION IF EXISTS %%s CASCADE', p.oid::regprocedure) FROM pg_proc p
    WHERE p.pronamespace = 'segue'::regnamespace AND NOT p.proname = ANY (%s)
    """
    for (statement,) in connection.execute(query, (kept,)).fetchall():
        connection.execute(statement)


def _run(connection: Connection, file: str) -> None:
    connection.execute(_text(file).encode())


def _sign(connection: Connection, schema: str, *files: str) -> None:
    statement = sql.SQL("COMMENT ON SCHEMA {} IS {}")
    connection.execute(statement.format(sql.Identifier(schema), sql.Literal(_signature(*files))))


def _signature(*files: str) -> str:
    text = "".join(map(_text, files))
    return f"Segue: {files[0]} {hashlib.sha256(text.encode()).hexdigest()}"


def _text(file: str) -> str:
    return resources.files("segue.store.postgres").joinpath(file).read_text("utf-8")


def show(connection: Connection, setting: str) -> str:
    """Return a setting of the server."""
    row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    return "" if row is None else str(row[0])


# -- its users -------------------------------------------------------------------------------------


def add_user(url: str, name: str, password: str | None = None, *, existing: bool = False) -> None:
    """Create the role *name*, or take an *existing* one, and let it use the store.

    The server gets a verifier of the password, and never the password. Raises psycopg.Error, or
    DatabaseSetupError if the account of the name has conversations already, which were another
    person's of that name, or is that of another role.
    """
    if name in _ROLES:
        raise DatabaseSetupError(f"{name} is a role of the store itself. Choose another name")
    role = sql.Identifier(name)
    with connect(url) as connection, connection.transaction():
        is_user = _is_user(connection, name)
        if not is_user and _count(connection, "sessions", name):
            raise DatabaseSetupError(
                f"there are conversations of a user {name!r} that was removed. Remove them with "
                "`segue postgres remove-user` first, or choose another name"
            )
        if other := _role_of_same_account(connection, name):
            raise DatabaseSetupError(f"the role {other!r} has the same account. Choose another")
        if not existing:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE segue_user").format(role))
        elif not is_user:
            _check_can_log_in(connection, name)
            connection.execute(sql.SQL("GRANT segue_user TO {}").format(role))
        if password is not None:
            encrypted = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(encrypted.decode()))
            )
        # Of the role itself: settings are not inherited, and pools refuse them at the start.
        for setting, value in LIMITS.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    role, sql.Identifier(setting), sql.Literal(value)
                )
            )


def contents_of(url: str, name: str) -> UserContents:
    """Return what a user has. Raises psycopg.Error, or DatabaseSetupError if there is no such user.

    A role that is no user, and of which there is nothing, is none.
    """
    with connect(url) as connection:
        contents = UserContents(
            name=name,
            sessions=_count(connection, "sessions", name),
            events=_count(connection, "events", name),
            has_role=_is_user(connection, name),
        )
        if not contents.has_role and not contents.sessions and not contents.events:
            raise DatabaseSetupError(f"there is no user {name!r} of the store, and nothing of one")
        if is_superuser(connection, name):
            raise DatabaseSetupError(f"{name!r} is a superuser. Remove that right first")
        return contents


def remove_user(url: str, name: str, *, keeps_role: bool = False) -> None:
    """Delete the conversations of a role, and then the role: who gets its name next has neither.

    With *keeps_role* it only loses the right to use the store. First nobody can log in as it, so
    that nothing is added meanwhile; a removal that fails can be repeated. Raises psycopg.Error.
    """
    role = sql.Identifier(name)
    with connect(url) as connection:
        exists = _is_user(connection, name)
        if exists and keeps_role:
            connection.execute(sql.SQL("REVOKE segue_user FROM {}").format(role))
        elif exists:
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
            if not is_superuser(connection, connection.info.user):
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
        _end_connections(connection, name, everywhere=not keeps_role)
        with connection.transaction():
            account = account_of(connection, name)
            for table in TABLES:
                statement = sql.SQL("DELETE FROM segue.{} WHERE owner = %s")
                connection.execute(statement.format(sql.Identifier(table)), (account,))
            if exists and keeps_role:
                for setting in LIMITS:
                    statement = sql.SQL("ALTER ROLE {} RESET {}")
                    connection.execute(statement.format(role, sql.Identifier(setting)))
            elif exists:
                connection.execute(sql.SQL("DROP ROLE {}").format(role))


def account_of(connection: Connection, name: str) -> int:
    """Return the number of a role's account."""
    row = connection.execute(f"SELECT {ACCOUNT.format('%s')}", (name,)).fetchone()
    return 0 if row is None else int(row[0])


ACCOUNT = "('x' || encode(substr(sha256(convert_to({}, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"
"""As the function `segue.me` computes it."""


def is_superuser(connection: Connection, name: str) -> bool:
    """Return whether there is such a role and it may do everything."""
    query = "SELECT rolsuper FROM pg_roles WHERE rolname = %s"
    row = connection.execute(query, (name,)).fetchone()
    return row is not None and bool(row[0])


def _is_user(connection: Connection, name: str) -> bool:
    # Who only administers the group of users is a member of it, too, but has not its rights.
    query = """
    SELECT 1 FROM pg_auth_members m
    WHERE m.roleid = to_regrole('segue_user') AND pg_get_userbyid(m.member) = %s
        AND pg_has_role(m.member, m.roleid, 'USAGE')
    """
    return connection.execute(query, (name,)).fetchone() is not None


def _check_can_log_in(connection: Connection, name: str) -> None:
    query = "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s"
    row = connection.execute(query, (name,)).fetchone()
    if row is None:
        raise DatabaseSetupError(f"there is no role {name!r}. Create it, or leave out --existing")
    if not row[0]:
        raise DatabaseSetupError(
            f"{name!r} is a group. Add each of its members: each has an account"
        )


def _end_connections(connection: Connection, name: str, *, everywhere: bool) -> None:
    query = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE usename = %s AND (%s OR datname = current_database())
    """
    connection.execute(query, (name, everywhere))


def _count(connection: Connection, table: str, name: str) -> int:
    query = sql.SQL("SELECT count(*) FROM segue.{} WHERE owner = %s").format(sql.Identifier(table))
    row = connection.execute(query, (account_of(connection, name),)).fetchone()
    return 0 if row is None else int(row[0])


def _role_of_same_account(connection: Connection, name: str) -> str | None:
    query = f"""
    SELECT rolname FROM pg_roles WHERE {ACCOUNT.format("rolname::text")} = %s AND rolname <> %s
    """  # noqa: S608  a constant
    row = connection.execute(query, (account_of(connection, name), name)).fetchone()
    return None if row is None else str(row[0])
