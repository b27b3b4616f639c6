"""The process of the agent: started first of all, ended gently."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence

_FORCE_S = 0.5


class AgentProcess:
    """A command that speaks ACP on its standard input and output; its stderr is ours."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start *command*. Raises OSError if it cannot be started."""
        # By this the hooks of an agent know that they need not record.
        environment = os.environ | {"SEGUE_ACP": str(os.getpid())}
        self._process = subprocess.Popen(  # noqa: S603  the person's own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._in, self._out = self._process.stdin, self._process.stdout
        if self._in is None or self._out is None:
            raise OSError("it has no standard input and output")
        self.stdin, self.stdout = self._in.fileno(), self._out.fileno()

    def close_input(self) -> None:
        """Let the agent see the end of its input."""
        if self._in is not None:
            with contextlib.suppress(OSError):
                self._in.close()

    def end(self, deadline: float) -> int:
        """Wait until *deadline*, a monotonic time, for the agent to end; then end it.

        Returns its exit code, as a shell has it: 128 and the signal's number if one ended it.
        """
        for stop in (None, self._process.terminate, self._process.kill):
            if stop is not None:
                stop()
                deadline = time.monotonic() + _FORCE_S
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(max(0, deadline - time.monotonic()))
                return code if code >= 0 else 128 - code
        return 128 + signal.SIGTERM
