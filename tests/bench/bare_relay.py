"""Runs a command and carries its bytes with nothing but asyncio: what any proxy costs."""

import asyncio
import os
import subprocess
import sys
from typing import IO


async def relay(to_agent: IO[bytes], from_agent: IO[bytes]) -> None:
    """Carry bytes both ways until one side has no more."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def carry(source: int, target: int) -> None:
        if data := os.read(source, 65_536):
            os.write(target, data)
        else:
            ended.set()

    loop.add_reader(0, carry, 0, to_agent.fileno())
    loop.add_reader(from_agent.fileno(), carry, from_agent.fileno(), 1)
    await ended.wait()


def main() -> None:
    """Run the command that the arguments are."""
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asyncio.run(relay(process.stdin, process.stdout))


if __name__ == "__main__":
    main()
