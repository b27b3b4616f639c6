"""A network of its own, in which nothing but the model can be reached.

The agents run in a new network namespace, which has no interface but loopback. Whatever they try to
send, to their makers or to anybody else, goes nowhere, whether their settings forbid it or not.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.agents.fake_model.protocol import Json
from tests.builds import ROOT


@attrs.frozen
class Offline:
    """The network, as long as the model runs that is in it."""

    address: str
    """That of the model: `http://127.0.0.1:PORT`."""
    enter: list[str]
    """The beginning of a command that runs the rest of it in the network."""
    log: Path
    model: int
    """The id of its process."""

    def requests(self) -> list[Json]:
        """Return what the model was sent so far: objects with `path` and `body`."""
        if not self.log.exists():
            return []
        *whole, _ = self.log.read_text().split("\n")
        return [json.loads(line) for line in whole]

    def kill_all(self) -> None:
        """Kill what runs in the network, but for the model; also what agents leave behind."""
        network = os.stat(f"/proc/{self.model}/ns/net")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                if int(process.name) != self.model and os.path.samestat(
                    os.stat(process / "ns" / "net"), network
                ):
                    os.kill(int(process.name), signal.SIGKILL)


def missing_requirements() -> list[str]:
    """Return what this machine lacks, as text for an error message; empty if it can be had."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return ["unshare and nsenter (util-linux)"]
    done = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    reason = done.stderr.strip()
    return [f"a network namespace ({reason})"] if done.returncode else []


@contextlib.contextmanager
def offline(folder: Path) -> Iterator[Offline]:
    """Yield a network with a model, which keeps its log in *folder*."""
    log = folder / "requests.jsonl"
    command = [*_unshare(), sys.executable, "-m", "tests.agents.fake_model", str(log)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as model:
        assert model.stdin is not None
        assert model.stdout is not None
        port = model.stdout.readline().strip()
        assert port, "the model has not started"
        network = Offline(f"http://127.0.0.1:{port}", _enter(model.pid), log, model.pid)
        try:
            yield network
        finally:
            network.kill_all()
            model.stdin.close()


def _unshare() -> list[str]:
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def _enter(process_id: int) -> list[str]:
    spaces = f"/proc/{process_id}/ns"
    users = [] if os.geteuid() == 0 else ["--preserve-credentials", f"--user={spaces}/user"]
    return ["nsenter", *users, f"--net={spaces}/net"]
