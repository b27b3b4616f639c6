"""A program at a terminal, as a person sees it."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

_ROWS, _COLUMNS = 200, 120
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(\x1b\\|\x07)|[ -/]*[0-~])", re.DOTALL)
_WHERE_IS_THE_CURSOR = b"\x1b[6n"


class Terminal:
    """A program that runs until it is killed. Use it once: `with Terminal(command, folder)`."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._mine, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self._shown = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=directory,
            env=os.environ | {"TERM": "xterm-256color"},
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def shown(self) -> str:
        """The ASCII of all that it has shown so far, without sequences and white space.

        What changes while something moves beside it may be torn.
        """
        text = self._shown.decode(errors="replace")
        return "".join(_SEQUENCE.sub("", text).encode("ascii", "ignore").decode().split())

    def enter(self, text: str) -> None:
        """Type *text*, and Enter, not so fast that it would be taken for pasted."""
        os.write(self._mine, text.encode())
        time.sleep(1)
        os.write(self._mine, b"\r")

    def press(self, *keys: str) -> None:
        """Send *keys*, one after the other, not so fast that two would be taken for one."""
        for key in keys:
            os.write(self._mine, key.encode())
            time.sleep(0.5)

    def kill(self) -> None:
        """Kill the program and its process group, without a warning."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(timeout=2)  # it goes on if a process of another group has the terminal
        os.close(self._mine)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            while data := os.read(self._mine, 65_536):
                self._shown += data
                if _WHERE_IS_THE_CURSOR in data:
                    os.write(self._mine, b"\x1b[1;1R")
