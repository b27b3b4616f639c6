"""Starts the real server with one change that only a benchmark wants.

`launcher.py echo lsp` answers `bench/echo` too; `launcher.py normal lsp` commits with
synchronous=NORMAL, which loses the last commits when the power fails.
"""

import sys
from typing import Any

from segue.startup import lazy_lsp_types

lazy_lsp_types.install()

import attrs  # noqa: E402

from segue.lsp import server  # noqa: E402
from segue.protocol import messages
from segue.startup import compose as segue  # noqa: E402
from segue.store.sqlite import driver  # noqa: E402


@attrs.frozen(kw_only=True)
class Echo:
    """What `bench/echo` takes, and returns."""

    value: Any


async def echo(ls: Any, params: Echo) -> Echo:
    """Return what was sent."""
    return params


def add_echo() -> None:
    """Let the server answer `bench/echo`, in the way of all its methods."""
    messages.METHODS["bench/echo"] = messages.Method(Echo, Echo)
    server.HANDLERS["bench/echo"] = echo


def make_normal() -> None:
    """Let no commit wait for the disk."""
    connect = driver.connect

    def connect_normal(where: str) -> driver.Connection:
        db = connect(where)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    driver.connect = connect_normal


if __name__ == "__main__":
    {"echo": add_echo, "normal": make_normal}[sys.argv.pop(1)]()
    segue.main()
