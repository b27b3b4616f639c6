"""What an account lets others read, and what others let it read."""

from typing import Literal

from segue.model.database_reports import Grant, SharedSession
from segue.model.records import Machine, Session
from segue.store.postgres import codec, rows
from segue.store.postgres.client import PostgresClient

MAX_SHARED = 1_000

Outcome = Literal["done", "absent", "none", "no role"]


class Sharing:
    """The calls that grant, and that read what was granted. All raise StorageError."""

    def __init__(self, client: PostgresClient, machine: Machine) -> None:
        self._client = client
        self._machine = machine

    async def share(
        self, session_id: str | None, repository: str | None, grantee: str, *, revoked: bool
    ) -> Outcome:
        """Let a role, or the members of a group, read a session or all of a repository.

        If *revoked*, they no longer may. `absent`: there is no such session; `none`: nothing was
        granted; `no role`: there is no such role.
        """
        what = (codec.id(session_id), codec.text(repository), codec.stored_text(grantee))
        sql = "SELECT segue_1.share($1, $2, $3, $4, $5)"
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

    async def shared(self) -> list[SharedSession]:
        """Return what others let this account read, newest first, at most `MAX_SHARED`."""
        sql = """
        SELECT g.granter, (g.session).owner, g.session FROM segue_1.shared($1, $2) g
        """
        limit = codec.int4(MAX_SHARED)
        found = await self._client.run(
            lambda connection: connection.call(sql, codec.int8(self._client.account), limit)
        )
        return [
            SharedSession(
                granter=granter, account=account, session=rows.session_of(session, self._machine)
            )
            for granter, account, session in found
        ]

    async def take(self, shared: SharedSession, new_id: str) -> Session | None:
        """Copy what is shared into this account under a new id; None if it no longer is."""
        sql = "SELECT * FROM segue_1.take($1, $2, $3, $4)"
        what = (codec.int8(shared.account), codec.id(shared.session.id), codec.id(new_id))
        found = await self._client.run(
            lambda connection: connection.call(sql, codec.int8(self._client.account), *what)
        )
        return rows.session_of(found[0], self._machine) if found else None
