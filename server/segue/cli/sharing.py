"""`segue postgres share`, `shared` and `take`: conversations that others may read."""

from typing import Any, Literal, Protocol, runtime_checkable

from segue.cli.application import CommandError
from segue.cli.ids import find_id
from segue.cli.printing import Column, age, print_json, print_line, print_table
from segue.model.database_reports import Grant, SharedSession
from segue.model.events import new_id
from segue.model.records import Session
from segue.protocol import messages
from segue.store.service import SessionService


class SharingCalls(Protocol):
    """What a store that shares can do; `store.postgres.sharing` has the promises."""

    async def share(
        self, session_id: str | None, repository: str | None, grantee: str, *, revoked: bool
    ) -> Literal["done", "absent", "none", "no role"]:
        """Grant or revoke."""

    async def grants(self) -> list[Grant]:
        """Return what this account lets others read."""

    async def shared(self) -> list[SharedSession]:
        """Return what others let this account read."""

    async def take(self, shared: SharedSession, new_id: str) -> Session | None:
        """Copy what is shared into this account."""


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
        print_line(f"{what}: no longer shared with {grantee}. Copies that were taken stay.")
    else:
        print_line(f"{what}: shared with {grantee}, who sees it by `segue postgres shared`.")
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


async def print_shared(service: SessionService, as_json: bool) -> int:
    """Print what others share with this account, and return 0."""
    found = await _calls(service).shared()
    if as_json:
        print_json([_as_json(each) for each in found])
        return 0
    columns = (
        Column("OWNER"),
        Column("AGE"),
        Column("EVENTS", is_number=True),
        Column("SESSION"),
        Column("TITLE", is_flexible=True),
    )
    rows = [
        (
            each.granter,
            age(each.session.updated_at),
            str(each.session.event_count),
            each.session.id,
            each.session.title or "",
        )
        for each in found
    ]
    if rows:
        print_table(columns, rows)
    else:
        print_line("Nobody shares a conversation with you.")
    return 0


async def take(service: SessionService, given: str, as_json: bool) -> int:
    """Copy a shared session, print the copy's id and title, and return 0.

    Raises CommandError if nothing, or more than one, that is shared has an id that begins so.
    """
    calls = _calls(service)
    found = [each for each in await calls.shared() if each.session.id.startswith(given)]
    if len(found) != 1:
        what = "Several shared conversations have" if found else "No shared conversation has"
        raise CommandError(f"{what} an id that begins with {given}: see `segue postgres shared`.")
    taken = await calls.take(found[0], new_id())
    if taken is None:
        raise CommandError(f"{given} is no longer shared with you.")
    if as_json:
        print_json({"session": messages.wire.unstructure(taken), "owner": found[0].granter})
    else:
        print_line(taken.id, taken.title or "")
    return 0


def _calls(service: SessionService) -> SharingCalls:
    if not isinstance(service, SharingService):
        raise CommandError(
            "Conversations are shared in a PostgreSQL database only. Name one in the setting "
            "`database`."
        )
    return service.sharing


def _as_json(shared: SharedSession) -> dict[str, Any]:
    return {"session": messages.wire.unstructure(shared.session), "owner": shared.granter}
