"""Starts the real server with one change that only a benchmark needs.

`launcher.py echo lsp` also answers `bench/echo`; `launcher.py normal lsp` commits with
synchronous=NORMAL, which loses the last commits when the power fails.
"""

import sys
from typing import Any

from segue.startup import lazy_lsp_types

lazy_lsp_types.install()

import attrs  # noqa: E402  # lazy_lsp_types must be installed first

from segue.lsp import server  # noqa: E402  # lazy_lsp_types must be installed first
from segue.protocol import methods  # noqa: E402  # lazy_lsp_types must be installed first
from segue.startup import compose  # noqa: E402  # lazy_lsp_types must be installed first
from segue.store.sqlite import driver  # noqa: E402  # lazy_lsp_types must be installed first


@attrs.frozen(kw_only=True)
class Echo:
    """The params and the result of `bench/echo`."""

    value: Any


async def echo(ls: Any, params: Echo) -> Echo:
    """Return *params*."""
    return params


def add_echo() -> None:
    """Register `bench/echo` in the tables of methods and handlers."""
    methods.METHODS["bench/echo"] = methods.Method(Echo, Echo)
    server.HANDLERS["bench/echo"] = echo


def set_synchronous_normal() -> None:
    """Make every connection of the store commit without waiting for the disk."""
    connect = driver.connect

    def connect_normal(*arguments: Any, **options: Any) -> driver.Connection:
        db = connect(*arguments, **options)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    driver.connect = connect_normal


if __name__ == "__main__":
    {"echo": add_echo, "normal": set_synchronous_normal}[sys.argv.pop(1)]()
    compose.main()
