"""Who has a database open: it is not repaired under them, and whose it was is remembered."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows, where a file that others have open cannot be moved anyway
    fcntl = None  # type: ignore[assignment]

_MARK = b"segue\n"


class Presence:
    """Says to other processes that this one has the database open."""

    def __init__(self, where: str) -> None:
        self._path = f"{where}-lock"
        self._fd: int | None = None

    def enter(self) -> None:
        """Wait until nobody repairs the database, and be counted as one who has it open."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._fd is not None and fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Tell whether nobody else has the database open, and keep the others out if so."""
        if self._fd is None or fcntl is None:
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def own(self) -> None:
        """Remember that this is our database: a header that is damaged no longer says so."""
        with contextlib.suppress(OSError):  # on a full disk the next window does it
            if self._fd is not None and os.fstat(self._fd).st_size == 0:
                os.write(self._fd, _MARK)

    def disown(self) -> None:
        """Forget that a database of ours was here: what is here now is none."""
        with contextlib.suppress(OSError):
            if self.owns():
                os.truncate(self._path, 0)

    def owns(self) -> bool:
        """Tell whether the last file that could be told by its header was our database."""
        try:
            with open(self._path, "rb") as file:
                return file.read() == _MARK
        except OSError:
            return False

    def leave(self) -> None:
        """Be gone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
