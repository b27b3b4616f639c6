"""What an administrator should know of a store's server: `segue postgres doctor`."""

from collections.abc import Iterator, Mapping
from typing import Any

from segue.model.database_reports import DatabaseReport, DatabaseSetupError, Reader
from segue.model.store_reports import Finding
from segue.store.postgres.setup import ACCOUNT, LIMITS, Connection, show, store_state

_SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_compression",
    "autovacuum",
    "data_checksums",
    "ssl",
    "listen_addresses",
    "archive_mode",
    "log_statement",
    "log_min_duration_statement",
    "log_parameter_max_length",
)

_RELOAD = "and run SELECT pg_reload_conf()"

_RIGHTS = {
    "pg_read_server_files": "reads the server's files",
    "pg_write_server_files": "writes the server's files",
    "pg_execute_server_program": "runs programs on the server",
    "segue_owner": "owns the tables",
    "segue_reader": "reads what was shared, and can read the rest",
    "segue_admin": "administers the store",
}
"""The groups whose members can read every row, in one way or another."""

_CREATES_ROLES_BEFORE = 160_000
"""Before PostgreSQL 16 who creates roles can join any group but a superuser's."""


def inspect(connection: Connection, location: str) -> DatabaseReport:
    """Return the state of the store. Raises psycopg.Error."""
    settings = {name: show(connection, name) for name in _SETTINGS}
    standbys = _standbys(connection)
    findings: list[Finding] = []
    try:
        state = store_state(connection)
    except DatabaseSetupError as error:
        state = "none"
        findings.append(Finding(f"There is no store: {error}", ""))
    else:
        findings += _of_store(connection, state)
    findings += [
        *_of_settings(settings),
        *_of_standbys(settings, standbys),
        *_of_log(settings),
    ]
    return DatabaseReport(
        location=location,
        version=str(connection.info.parameter_status("server_version")),
        store=state,
        bytes=None if state == "none" else _size(connection),
        users=len(_users(connection)),
        answered=_answered(settings, standbys),
        deleted=list(_where_deleted_text_is(connection, settings)),
        readers=list(_readers(connection)),
        settings=settings,
        findings=findings,
    )


def server_findings(connection: Connection) -> list[Finding]:
    """Return what is wrong with, or worth knowing of, the settings of the server."""
    settings = {name: show(connection, name) for name in _SETTINGS}
    return [
        *_of_settings(settings),
        *_of_standbys(settings, _standbys(connection)),
        *_of_log(settings),
    ]


def _of_settings(settings: Mapping[str, str]) -> Iterator[Finding]:
    if settings["fsync"] == "off":
        yield Finding(
            "fsync is off: a crash of the machine can lose what was answered, and the database",
            f"Set fsync = on {_RELOAD}",
        )
    if settings["full_page_writes"] == "off":
        yield Finding(
            "full_page_writes is off: a crash of the machine can damage the database",
            f"Set full_page_writes = on {_RELOAD}",
        )
    if settings["autovacuum"] == "off":
        yield Finding(
            "autovacuum is off: the tables grow, and what is deleted stays in them",
            f"Set autovacuum = on {_RELOAD}",
        )
    if settings["wal_compression"] == "off":
        yield Finding(
            "wal_compression is off: an append writes up to 10 kB to the write-ahead log, and down "
            "to an eighth of that with it",
            f"Set wal_compression = lz4, or = on where the server knows no lz4, {_RELOAD}",
            is_problem=False,
        )
    if settings["data_checksums"] == "off":
        yield Finding(
            "data_checksums is off: damage by the disk to what is stored is not noticed",
            "Stop the server and run pg_checksums --enable",
            is_problem=False,
        )
    if settings["ssl"] == "off" and settings["listen_addresses"] not in ("", "localhost"):
        yield Finding(
            "ssl is off, and Segue connects from other machines only to a server whose certificate "
            "it can check",
            f"Give the server a certificate for its name, set ssl = on {_RELOAD}",
        )


def _of_standbys(settings: Mapping[str, str], standbys: list[str]) -> Iterator[Finding]:
    if settings["synchronous_standby_names"] and not _synchronous(standbys):
        yield Finding(
            "synchronous_standby_names names standbys and none of them is connected: every append "
            "waits",
            f"Start a standby, or make synchronous_standby_names empty {_RELOAD}",
        )


def _of_log(settings: Mapping[str, str]) -> Iterator[Finding]:
    logs = settings["log_statement"] == "all" or settings["log_min_duration_statement"] != "-1"
    if logs and settings["log_parameter_max_length"] != "0":
        yield Finding(
            "the server's log quotes conversations: statements are logged with their parameters",
            f"Set log_parameter_max_length = 0 {_RELOAD}, and remove the old logs",
        )


def _of_store(connection: Connection, state: str) -> Iterator[Finding]:
    if state == "none":
        yield Finding("There is no store in this database", "Run `segue postgres init`")
        return
    if state == "outdated":
        yield Finding(
            "the functions of the store are those of another build of Segue",
            "Run `segue postgres init` of the latest version that is in use",
        )
    if not _has_generic_plans(connection):
        yield Finding(
            "plan_cache_mode is not set for the database: an append takes twice as long",
            "Run `segue postgres init` again",
            is_problem=False,
        )
    if names := _users_without_limits(connection):
        yield Finding(
            f"users without limits of time: {', '.join(names)}. What blocks them is told to them "
            "as a lost connection",
            "Run `segue postgres add-user --existing` for each",
            is_problem=False,
        )
    accounts = _accounts(connection)
    if accounts is None:
        yield Finding(
            "this role may not look into the store, so this report has no more of it",
            "Connect as a superuser, or GRANT segue_admin to this role",
            is_problem=False,
        )
    elif gone := accounts - set(_users(connection).values()):
        yield Finding(
            f"{len(gone)} account{'s have' if len(gone) > 1 else ' has'} conversations and no user",
            "Remove them with `segue postgres remove-user`, by the names that their roles had",
            is_problem=False,
        )


def _answered(settings: Mapping[str, str], standbys: list[str]) -> str:
    if settings["fsync"] == "off":
        return "in the memory of this server: fsync is off"
    if not settings["synchronous_standby_names"]:
        what = "on the disk of this server"
        if not standbys:
            return f"{what}, and nowhere else"
        return f"{what}; a failover to a standby can lose the last of it"
    count = len(_synchronous(standbys))
    where = {
        "remote_write": "in the memory of",
        "on": "on the disk of",
        "remote_apply": "on the disk of",
    }.get(settings["synchronous_commit"], "on the disk of")
    return f"on the disk of this server and {where} a synchronous standby ({count} connected)"


def _where_deleted_text_is(connection: Connection, settings: Mapping[str, str]) -> Iterator[str]:
    yield "in the files of the tables, until `segue postgres vacuum --full`"
    yield "in the write-ahead log, until its segments are written over"
    if settings["archive_mode"] != "off":
        yield "in the archive of the write-ahead log (archive_mode is on), as long as you keep it"
    query = """
    SELECT slot_name, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
    FROM pg_replication_slots WHERE NOT active
    """
    if show(connection, "in_hot_standby") == "off":
        for name, size in connection.execute(query).fetchall():
            yield f"in {size:,} bytes of the log that the unused replication slot {name} keeps"
    yield "in every backup and snapshot of the server"


def _readers(connection: Connection) -> Iterator[Reader]:
    query = "SELECT rolname FROM pg_roles WHERE {} ORDER BY rolname"
    for (name,) in connection.execute(query.format("rolsuper")).fetchall():
        yield Reader(name, "superuser")
    for (name,) in connection.execute(query.format("rolreplication AND NOT rolsuper")).fetchall():
        yield Reader(name, "replication: copies the whole server")
    members = """
    SELECT r.rolname, g.rolname FROM pg_roles r CROSS JOIN pg_roles g
    WHERE g.rolname = ANY (%s) AND r.rolname <> g.rolname AND NOT r.rolsuper
        AND pg_has_role(r.oid, g.oid, 'MEMBER')
    ORDER BY r.rolname, g.rolname
    """
    for name, group in connection.execute(members, (list(_RIGHTS),)).fetchall():
        yield Reader(name, _RIGHTS[group])
    passes = query.format("""
        rolbypassrls AND NOT rolsuper AND pg_has_role(oid, 'pg_read_all_data', 'MEMBER')
    """)
    for (name,) in connection.execute(passes).fetchall():
        yield Reader(name, "reads all data, and row-level security does not apply to it")
    if connection.info.server_version < _CREATES_ROLES_BEFORE:
        creators = query.format("rolcreaterole AND NOT rolsuper")
        for (name,) in connection.execute(creators).fetchall():
            yield Reader(name, "creates roles, and can so join the owner's")


def _standbys(connection: Connection) -> list[str]:
    """Return the state of each connected standby: `sync`, `quorum`, `potential` or `async`."""
    query = "SELECT coalesce(sync_state, 'async') FROM pg_stat_replication"
    return [str(row[0]) for row in connection.execute(query).fetchall()]


def _synchronous(standbys: list[str]) -> list[str]:
    return [state for state in standbys if state in ("sync", "quorum")]


def _size(connection: Connection) -> int:
    query = """
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
    WHERE c.relnamespace = to_regnamespace('segue') AND c.relkind IN ('r', 'p')
    """
    return int(_value(connection, query))


def _users(connection: Connection) -> dict[str, int]:
    """Return the roles that may use the store, and the numbers of their accounts."""
    query = f"""
    SELECT r.rolname, {ACCOUNT.format("r.rolname::text")} FROM pg_roles r
    WHERE r.rolcanlogin AND NOT r.rolsuper AND to_regrole('segue_user') IS NOT NULL
        AND pg_has_role(r.oid, to_regrole('segue_user')::oid, 'USAGE')
    ORDER BY r.rolname
    """  # noqa: S608  a constant
    return dict(connection.execute(query).fetchall())


def _users_without_limits(connection: Connection) -> list[str]:
    query = """
    SELECT r.rolname, coalesce(array_to_string(s.setconfig, ' '), '')
    FROM pg_roles r LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0
    """
    limits = dict(connection.execute(query).fetchall())
    return [
        name
        for name in _users(connection)
        if not all(f"{setting}=" in limits[name] for setting in LIMITS)
    ]


def _has_generic_plans(connection: Connection) -> bool:
    query = """
    SELECT EXISTS (
        SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0
            AND 'plan_cache_mode=force_generic_plan' = ANY (s.setconfig)
    )
    """
    return bool(_value(connection, query))


def _accounts(connection: Connection) -> set[int] | None:
    """Return the accounts that have conversations; None if this role may not know.

    One probe of the index for each account.
    """
    may = """
    SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'segue' AND c.relname = 'sessions'
    """
    if not _value(connection, may):
        return None
    query = """
    WITH RECURSIVE accounts (owner) AS (
        (SELECT owner FROM segue.sessions ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (
            SELECT s.owner FROM segue.sessions s WHERE s.owner > a.owner ORDER BY s.owner LIMIT 1
        ) FROM accounts a WHERE a.owner IS NOT NULL
    )
    SELECT owner FROM accounts WHERE owner IS NOT NULL
    """
    return {int(row[0]) for row in connection.execute(query).fetchall()}


def _value(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]
