"""Replaces the settings file of another program, or refuses to, and says why.

By rename, so that the program reads the old one or the new one; with its mode, and where it is a
link, at the file that it names.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

import attrs

MAX_SIZE = 4 * 1024 * 1024


class RefusedError(Exception):
    """The file is left as it is. The message is a sentence that says why."""


@attrs.frozen
class SettingsFile:
    """A settings file as it was read."""

    path: Path
    """The file itself, behind all links."""
    text: str | None
    """None: there is none."""
    _state: os.stat_result | None

    @classmethod
    def read(cls, path: Path) -> "SettingsFile":
        """Read a file; raise RefusedError if it is none that Segue would edit."""
        try:
            target = Path(os.path.realpath(path, strict=path.is_symlink()))
            fd = os.open(target, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            if path.is_symlink():
                raise RefusedError("it is a link to a file that is not there") from None
            return cls(Path(os.path.realpath(path)), None, None)
        except OSError as error:
            raise RefusedError(f"it cannot be read ({error.strerror})") from None
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            os.close(fd)
            raise RefusedError("it is not a file")
        with open(fd, "rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise RefusedError(f"it has more than {MAX_SIZE // 2**20} MiB")
        try:
            return cls(target, data.decode(), state)
        except UnicodeDecodeError:
            raise RefusedError("it is not UTF-8") from None

    def check_writable(self) -> None:
        """Raise RefusedError if it belongs to somebody else, or is being edited."""
        if self._state is not None and hasattr(os, "geteuid"):
            if self._state.st_uid != os.geteuid():
                raise RefusedError("it belongs to another user")
            if self._state.st_nlink > 1:
                raise RefusedError("it has several names (hard links), which a rename would part")
            if not self._state.st_mode & stat.S_IWUSR:
                raise RefusedError("it is read-only")
        folder, name = self.path.parent, self.path.name
        for sign, editor in ((f".{name}.swp", "Vim"), (f".#{name}", "Emacs")):
            if os.path.lexists(folder / sign):
                raise RefusedError(
                    f"it is open in {editor} ({folder / sign} is there). Save it and close it, or "
                    "remove that file if nobody edits it"
                )
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise RefusedError(f"{existing} is not writable")

    def replace(self, text: str | None) -> None:
        """Write *text* in its place, or with None remove it; raise RefusedError.

        A file that was changed since it was read is left as it is.
        """
        self.check_writable()
        try:
            if text is None:
                self._check_unchanged()
                self.path.unlink()
            else:
                self._write(text.encode())
        except OSError as error:
            raise RefusedError(f"it cannot be written ({error.strerror})") from None

    def _write(self, data: bytes) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{self.path.name}.segue-", dir=folder)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                if self._state is not None:
                    if hasattr(os, "fchown"):
                        with contextlib.suppress(PermissionError):
                            os.fchown(fd, -1, self._state.st_gid)
                    os.chmod(name, stat.S_IMODE(self._state.st_mode))
                os.fsync(fd)
            self._check_unchanged()
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _check_unchanged(self) -> None:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            now = None
        if _identity(now) != _identity(self._state):
            raise RefusedError("another program has just changed it. Try again")


def _identity(state: os.stat_result | None) -> object:
    if state is None:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
