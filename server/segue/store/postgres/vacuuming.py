"""Removes what deletion leaves in the files of the tables: `segue postgres vacuum`."""

from typing import Any

from psycopg import sql

from segue.model.database_reports import DatabaseSetupError, VacuumedTable, VacuumReport
from segue.store.postgres.setup import LOCK_TIMEOUT, TABLES, Connection, store_state


def vacuum(connection: Connection, *, is_full: bool) -> VacuumReport:
    """Make the space of dead rows free for what comes, or write the tables anew without them.

    If *is_full*, each table is locked meanwhile. Raises psycopg.Error, or DatabaseSetupError if
    there is no store, or if this role may not do it.
    """
    if store_state(connection) == "none":
        raise DatabaseSetupError("there is no store in this database. Run `segue postgres init`")
    if is_full:  # while it waits for a table, everybody else waits behind it
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
    refused: list[str] = []
    connection.add_notice_handler(
        lambda notice: (
            refused.append(notice.severity_nonlocalized or "")
            if notice.severity_nonlocalized == "WARNING"
            else None
        )
    )
    tables = []
    for name in TABLES:
        before = _measured(connection, name)
        options = sql.SQL("FULL" if is_full else "INDEX_CLEANUP ON")
        connection.execute(sql.SQL("VACUUM ({}) segue.{}").format(options, sql.Identifier(name)))
        if refused:
            raise DatabaseSetupError(
                "this role may not vacuum the tables. Connect as a superuser, or as the role that "
                "ran `segue postgres init`"
            )
        after = _measured(connection, name)
        tables.append(
            VacuumedTable(
                name=name,
                bytes_before=before[0],
                bytes_after=after[0],
                dead_before=before[1],
                dead_after=after[1],
            )
        )
    return VacuumReport(is_full=is_full, tables=tables)


def _measured(connection: Connection, name: str) -> tuple[int, int]:
    query = """
    SELECT pg_total_relation_size(c.oid), pg_stat_get_dead_tuples(c.oid)
    FROM pg_class c WHERE c.relnamespace = 'segue'::regnamespace AND c.relname = %s
    """
    row: Any = connection.execute(query, (name,)).fetchone()
    return int(row[0]), int(row[1])
