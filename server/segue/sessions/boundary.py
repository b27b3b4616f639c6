"""The boundary: the event that marks for the model where an earlier invocation ends."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from segue.model.events import Event, SystemContext
from segue.model.records import MAX_SKEW_MS, MAX_TIMESTAMP, now

if TYPE_CHECKING:
    from segue.model.git_changes import GitChanges, Head

_EPOCH = datetime(1970, 1, 1)

_LONGEST_BRANCH = 100
_COMMIT_DIGITS = 7

ELSEWHERE = "This window is in another folder than the one in which the conversation began."
ON_OTHER_MACHINE = (
    "This window is on another machine than the one on which the conversation began, so its files "
    "may differ."
)


def make_boundary(last_event_at: int, changes: str = "") -> Event:
    """Return the boundary of a session whose last event has the time *last_event_at*."""
    return Event.of(SystemContext(content=boundary_note(last_event_at, changes)))


def boundary_note(last_event_at: int, changes: str = "") -> str:
    """Return the content of the boundary: a note for the model; *changes* are sentences for it."""
    return (
        "[Note: a new invocation of the editor begins here. What came before is from an earlier "
        f"invocation; its last event was {ago(last_event_at)}.{changes and f' {changes}'}]"
    )


def describe_changes(changes: "GitChanges", mask: Callable[[str], str]) -> str:
    """Return sentences that say what was measured, and nothing of what was not.

    *mask* masks the secrets in the name of a branch.
    """
    here, then = _place(changes.now, mask), changes.then
    if then is None:
        sentences = [f"The repository is {here}."]
    elif then == changes.now:
        sentences = [f"The repository is {here}, as then."]
    else:
        sentences = [f"The repository was {_place(then, mask)} then; it is {here} now."]
    if changes.commits:
        verb = "was" if changes.commits == 1 else "were"
        sentences.append(f"{_count(changes.commits, 'commit')} {verb} made since.")
    if changes.modified:
        verb = "was" if changes.modified == 1 else "were"
        sentences.append(f"{_count(changes.modified, 'tracked file')} {verb} modified since.")
    if changes.missing:
        verb = "is" if changes.missing == 1 else "are"
        sentences.append(f"{_count(changes.missing, 'tracked file')} {verb} missing.")
    return " ".join(sentences)


def _place(head: "Head", mask: Callable[[str], str]) -> str:
    at = "" if head.commit is None else f" at {head.commit[:_COMMIT_DIGITS]}"
    if head.is_detached:
        return f"on a detached HEAD{at}"
    if head.branch is None:
        return at.strip()
    # Masked before it is shortened: half a secret is not known as one.
    return f"on branch {_quoted(mask(head.branch))}{at}"


def _quoted(branch: str) -> str:
    """Return a name in quotes, in one line, so that it cannot end them nor look like a sentence.

    Git allows neither spaces nor control characters, but anybody may have written its files.
    """
    cut = branch if len(branch) <= _LONGEST_BRANCH else f"{branch[: _LONGEST_BRANCH - 1]}…"
    safe = "".join(each if each.isprintable() and each not in ' "' else "?" for each in cut)
    return f'"{safe}"'


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number > 1 else ''}"


def ago(time: int) -> str:
    """Return how long ago *time* (milliseconds since 1970) is, in words: `2 hours ago`.

    A time further in the future than MAX_SKEW_MS is said to be one: `in the future (2106-02-07)`.
    """
    age = now() - time
    if age < -MAX_SKEW_MS:
        return f"in the future ({date(time)})"
    seconds = max(0, age) // 1_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a second ago"


def date(time: int) -> str:
    """Return the date in UTC of *time* (milliseconds since 1970): `2026-08-01`."""
    limited = min(max(time, 0), MAX_TIMESTAMP)
    return (_EPOCH + timedelta(milliseconds=limited)).date().isoformat()
