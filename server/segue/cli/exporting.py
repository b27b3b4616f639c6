"""`segue export`: prints a conversation as a file, or writes one."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

import attrs

from segue.cli.application import CommandError
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
        with _new_file(output, replaces=replaces) as file:
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


@contextlib.contextmanager
def _new_file(path: str, *, replaces: bool) -> Iterator[BinaryIO]:
    """Yield a file, private to its owner, which gets the name *path* when it is complete.

    Raises FileExistsError if there is one then, unless *replaces*.
    """
    temporary = f"{path}.{os.getpid()}.part"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        if replaces:
            os.replace(temporary, path)
        else:
            _name(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _name(temporary: str, path: str) -> None:
    """Give a file the name *path*; raise FileExistsError if another one has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)
    else:
        os.unlink(temporary)
