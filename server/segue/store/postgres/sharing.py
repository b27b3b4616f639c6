"""What an account lets others read, and how they are kept from changing it."""

from typing import Literal

from segue.model.database_reports import Grant
from segue.model.errors import SessionNotFound, SessionReadOnly
from segue.store.postgres import codec, rows
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.machine import repository as repository_key
from segue.store.postgres.wire import Connection

Outcome = Literal["done", "absent", "none", "no role"]


class Sharing:
    """The calls that grant. All raise StorageError."""

    def __init__(self, client: PostgresClient) -> None:
        self._client = client

    async def share(
        self, session_id: str | None, repository: str | None, grantee: str, *, revoked: bool
    ) -> Outcome:
        """Let a role, or the members of a group, read a session or all of a repository.

        If *revoked*, they no longer may. `absent`: there is no such session; `none`: nothing was
        granted; `no role`: there is no such role.
        """
        what = (
            codec.id(session_id),
            codec.text(repository),
            repository_key(repository),
            codec.stored_text(grantee),
        )
        sql = "SELECT segue_1.share($1, $2, $3, $4, $5, $6)"
        ((outcome,),) = await self._client.run(
            lambda connection: connection.call(
                sql, codec.int8(self._client.account), *what, codec.boolean(revoked)
            )
        )
        return outcome  # type: ignore[no-any-return]  # one of the four

    async def grants(self) -> list[Grant]:
        """Return what this account lets others read."""
        sql = "SELECT * FROM segue_1.grants($1)"
        found = await self._client.run(
            lambda connection: connection.call(sql, codec.int8(self._client.account))
        )
        return [
            Grant(
                grantee=grantee,
                session_id=None if id is None else codec.unpack(id),
                title=rows.text(title),
                repository=rows.text(repository) or None,
            )
            for grantee, id, title, repository in found
        ]


async def refusal(
    connection: Connection, account: int, session_id: str
) -> SessionNotFound | SessionReadOnly:
    """Return why a session that is none of an account's cannot be changed by it."""
    sql = "SELECT segue_1.shared_by($1, $2)"
    ((shared_by,),) = await connection.call(sql, codec.int8(account), codec.id(session_id))
    if shared_by is None:
        return SessionNotFound(session_id)
    return SessionReadOnly(session_id, shared_by)
