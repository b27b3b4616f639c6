"""Send odd bytes through the proxy, both ways at once: all must arrive, unchanged and in order."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

from tests.acp.client import PROXY
from tests.acp.odd_bytes import odd_lines
from tests.faults.ledger import folder_on_disk
from tests.faults.runner import Report, Size, main

STREAMS: dict[Size, int] = {"short": 3, "long": 100}
BYTES: dict[Size, int] = {"short": 3_000_000, "long": 10_000_000}
MIRROR = Path(__file__).parents[1] / "acp" / "mirror_agent.py"
TIMEOUT_S = 120

TO_AGENT = "the agent gets every byte of the client"
TO_CLIENT = "the client gets every byte of the agent"
ENDS = "the proxy ends with its client"


def run(report: Report, rng: random.Random) -> None:
    """Send streams of odd bytes to an agent that sends them back."""
    with folder_on_disk() as folder:
        for number in range(STREAMS[report.size]):
            sent = b"".join(odd_lines(rng, BYTES[report.size]))
            # Half a line at the end, for every second one.
            sent += b'{"jsonrpc": "2.0", "met' * (number % 2)
            _send(report, folder, sent)
            report.count("streams")
            report.count("bytes", len(sent))
            if report.has_failed:
                return


def _send(report: Report, folder: Path, sent: bytes) -> None:
    got = folder / "received"
    environment = os.environ | {"SEGUE_DATABASE": str(folder / "sessions.db")}
    command = [*PROXY, sys.executable, "-I", str(MIRROR), str(got)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        # Who only writes, and then only reads, would wait for ever: so does every client.
        writing = threading.Thread(target=_write, args=(process, sent))
        writing.start()
        assert process.stdout is not None
        returned = process.stdout.read()
        writing.join(TIMEOUT_S)
        code = process.wait(TIMEOUT_S)
    report.expect(got.read_bytes() == sent, TO_AGENT, f"{len(sent):,} bytes")
    report.expect(returned == sent, TO_CLIENT, f"{len(returned):,} of {len(sent):,} bytes")
    report.expect(code == 0, ENDS, f"exit code {code}")


def _write(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.close()


if __name__ == "__main__":
    main(run)
