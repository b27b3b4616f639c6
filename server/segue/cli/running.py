"""Runs a subcommand over the store, and says in one line what went wrong."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import attrs
import click

from segue.__main__ import open_service
from segue.cli.printing import visible
from segue.service import SegueError, SessionService
from segue.settings import Settings
from segue.workspace import InvalidWorkspaceError


def with_service(settings: Settings, work: Callable[[SessionService], Awaitable[None]]) -> None:
    """Run *work* over the store that the settings name, and close it on every way out."""
    if not os.path.exists(settings.database):
        # To look is not to make: a store that is not there yet is an empty one.
        settings = attrs.evolve(settings, database=":memory:")

    async def run() -> None:
        service = await open_service(settings)
        try:
            await work(service)
        finally:
            await service.close()

    try:
        asyncio.run(run())
    except (SegueError, InvalidWorkspaceError) as error:
        raise click.ClickException(visible(str(error))) from None
