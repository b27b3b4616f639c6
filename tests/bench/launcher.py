"""Starts the real server with one change that only a benchmark wants.

`launcher.py echo lsp` answers `bench/echo` too; `launcher.py normal lsp` commits with
synchronous=NORMAL, which loses the last commits when the power fails.
"""

import sys
from typing import Any

from segue.lsp import lazy_types

lazy_types.install()

import attrs  # noqa: E402

from segue import __main__ as segue  # noqa: E402
from segue.lsp import protocol, server  # noqa: E402
from segue.storage import library  # noqa: E402


@attrs.frozen(kw_only=True)
class Echo:
    """What `bench/echo` takes, and returns."""

    value: Any


async def echo(ls: Any, params: Echo) -> Echo:
    """Return what was sent."""
    return params


def add_echo() -> None:
    """Let the server answer `bench/echo`, in the way of all its methods."""
    protocol.METHODS["bench/echo"] = protocol.Method(Echo, Echo)
    server.HANDLERS["bench/echo"] = echo


def make_normal() -> None:
    """Let no commit wait for the disk."""
    connect = library.connect

    def connect_normal(where: str) -> library.Connection:
        db = connect(where)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    library.connect = connect_normal


if __name__ == "__main__":
    {"echo": add_echo, "normal": make_normal}[sys.argv.pop(1)]()
    segue.main()
