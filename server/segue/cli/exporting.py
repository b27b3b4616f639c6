"""`segue export`: prints a conversation as a file, or writes one."""

import sys
from collections.abc import AsyncIterator

import attrs

from segue.cli.application import CommandError
from segue.cli.new_file import new_file
from segue.cli.printing import OutputClosedError
from segue.exporting.blocks import SAID
from segue.model.records import StoredEvent
from segue.sessions import exporting
from segue.store.service import SessionService


@attrs.frozen(kw_only=True)
class Selection:
    """Which part of a conversation is exported."""

    turns: int | None = None
    """The last so many turns; None: all."""
    since: int | None = None
    """What was said at this time, in milliseconds, or later; None: all."""
    no_tools: bool = False
    """Only what people and models say to each other."""

    def chooses(self, event: StoredEvent) -> bool:
        """Return whether *event* is in a part that `since` and `no_tools` leave."""
        return (self.since is None or event.created_at >= self.since) and (
            not self.no_tools or event.type in SAID
        )


async def export(
    service: SessionService,
    session_id: str,
    format: str,
    output: str | None,
    selection: Selection,
    *,
    replaces: bool,
) -> None:
    """Print the session, or write the file *output*. Raises SessionNotFound, or CommandError.

    A file is complete or not there at all. One that exists is left as it is, unless *replaces*.
    """
    session = await service.get_session(session_id)
    pieces = exporting.export(
        service, session, format, turns=selection.turns, chooses=selection.chooses
    )
    if output is None:
        await _print(pieces)
        return
    try:
        with new_file(output, replaces=replaces) as file:
            async for piece in pieces:
                file.write(piece.encode())
    except FileExistsError:
        raise CommandError(f"{output} exists. Choose another name, or --force.") from None
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}.") from None


async def _print(pieces: AsyncIterator[str]) -> None:
    if sys.stdout is None:
        raise OutputClosedError("standard output is closed")
    # In UTF-8 whatever the locale: it is the content of a file. No format has control characters.
    async for piece in pieces:
        sys.stdout.buffer.write(piece.encode())
    sys.stdout.buffer.flush()
