"""`segue postgres share`: conversations that others may read."""

from typing import Literal, Protocol, runtime_checkable

from segue.cli.application import CommandError
from segue.cli.ids import find_id
from segue.cli.printing import Column, print_json, print_line, print_table
from segue.model.database_reports import Grant
from segue.store.service import SessionService


class SharingCalls(Protocol):
    """What a store that shares can do; `store.postgres.sharing` has the promises."""

    async def share(
        self, session_id: str | None, repository: str | None, grantee: str, *, revoked: bool
    ) -> Literal["done", "absent", "none", "no role"]:
        """Grant or revoke."""

    async def grants(self) -> list[Grant]:
        """Return what this account lets others read."""


@runtime_checkable
class SharingService(Protocol):
    """A store whose accounts can share."""

    @property
    def sharing(self) -> SharingCalls:
        """The calls."""


async def share(
    service: SessionService,
    given: str | None,
    repository: str | None,
    grantee: str,
    *,
    revoked: bool,
    minutes: float,
) -> int:
    """Grant or revoke, say so, and return 0. Raises CommandError if that is impossible."""
    calls = _calls(service)
    session_id = None if given is None else await find_id(service, given, minutes)
    outcome = await calls.share(session_id, repository, grantee, revoked=revoked)
    if outcome == "no role":
        raise CommandError(f"The server has no user and no group {grantee}.")
    if outcome == "none":
        raise CommandError(f"That was not shared with {grantee}.")
    if outcome == "absent":
        raise CommandError(f"No session has the id {session_id}.")
    what = session_id or f"All conversations of {repository}"
    if revoked:
        print_line(f"{what}: no longer shared with {grantee}. Forks of it stay.")
    else:
        print_line(f"{what}: shared with {grantee}, to be read.")
    return 0


async def print_grants(service: SessionService, as_json: bool) -> int:
    """Print what this account shares, and return 0."""
    grants = await _calls(service).grants()
    if as_json:
        print_json(
            [
                {
                    "with": each.grantee,
                    "sessionId": each.session_id,
                    "title": each.title,
                    "repository": each.repository,
                }
                for each in grants
            ]
        )
        return 0
    columns = (
        Column("WITH"),
        Column("WHAT", is_flexible=True),
        Column("SESSION", is_optional=True),
    )
    rows = [
        (
            each.grantee,
            f"all of {each.repository}" if each.repository else each.title or "",
            each.session_id or "",
        )
        for each in grants
    ]
    if rows:
        print_table(columns, rows)
    else:
        print_line("You share nothing.")
    return 0


def _calls(service: SessionService) -> SharingCalls:
    if not isinstance(service, SharingService):
        raise CommandError(
            "Conversations are shared in a PostgreSQL database only. Name one in the setting "
            "`database`."
        )
    return service.sharing
