"""Decides which session a workspace resumes, by place and age, and gives the reason."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from segue.model.records import FindResult, Reason, ReasonCode, Session
from segue.model.workspace import Workspace
from segue.sessions.boundary import ago, date
from segue.store.service import SessionService

_LONGEST_AGE_MINUTES = 1_000 * 365 * 24 * 60
"""A thousand years: the store subtracts the age from the time, and timedelta has a limit."""


async def find_resumable(
    connect: Callable[[], Awaitable[SessionService]], workspace: Workspace, continue_minutes: float
) -> FindResult:
    """Return the session that *workspace* would resume, the reason, and what else fits.

    A session fits if its last event is less than *continue_minutes* old; with 0 or less none does,
    and the store is not asked.
    """
    if continue_minutes <= 0:
        reason = "Sessions are not resumed by themselves here (continueMinutes is 0)."
        return FindResult(session=None, reason=reason, reason_code="neverByItself", alternatives=())
    max_age = timedelta(minutes=min(continue_minutes, _LONGEST_AGE_MINUTES))
    service = await connect()
    found = await service.find_resumable(
        workspace.directory,
        workspace.git_root,
        max_age,
        aliases=workspace.aliases,
        repository=workspace.repository,
        worktree=workspace.worktree,
    )
    ahead = "" if found.in_future is None else f" {_in_future(found.in_future)}"
    if not found.sessions:
        reason = (
            f"No session of this workspace was updated in the last {continue_minutes:g} minutes."
        )
        return FindResult(
            session=None, reason=reason + ahead, reason_code="nothingFits", alternatives=()
        )
    session, *others = found.sessions
    why = _reason(session, workspace)
    return FindResult(
        session=session,
        reason=why.text + ahead,
        reason_code=why.code,
        alternatives=others,
    )


def _reason(session: Session, workspace: Workspace) -> Reason:
    code: ReasonCode
    places = (workspace.git_root, workspace.directory, *workspace.aliases)
    if session.machine is not None:
        scope = f"repository, on {session.machine} ({session.repository})"
        code = "newestOnOtherMachine"
    elif session.git_root is not None and session.git_root in places:
        scope, code = f"git repository ({session.git_root})", "newestInRepository"
    else:
        scope, code = f"directory ({session.directory})", "newestInDirectory"
    text = f"The newest session of this {scope}, last updated {ago(session.updated_at)}."
    return Reason(text, code)


def _in_future(session: Session) -> str:
    title = "" if session.title is None else f' "{session.title}"'
    return (
        f"The session{title} has a time in the future, {date(session.updated_at)}, and counts as "
        "old: open it by its id."
    )
