"""The context of the commands, and the error that ends them."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import click

from segue.cli.printing import visible

if TYPE_CHECKING:
    from segue.model.store_reports import StoreEngine
    from segue.store.service import SessionService, StoreAdmin


class CommandError(click.ClickException):
    """Ends the command with exit code 1 and *message* as one line without control characters."""

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


@attrs.frozen(kw_only=True)
class Store:
    """The store that the settings name."""

    admin: "StoreAdmin"
    config_file: str
    """The path of the settings file, whether it exists or not."""

    open_existing: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, or an empty one in memory if it does not exist: reading creates no store."""


@attrs.frozen(kw_only=True)
class Application:
    """The context of the commands, made by `startup.compose`."""

    serve: Callable[[list[str]], int]
    """Runs `segue lsp` with these arguments and returns the exit code."""

    load_store: Callable[[str | None], Store]
    """Returns the store of the settings; the argument is the `--database` option, if it was given.

    Raises CommandError if a setting is wrong.
    """

    local_engine: "Callable[[], StoreEngine]"
    """Returns the engine of the store that is used without any setting."""

    database: str | None = None
    """The `--database` option."""

    def store(self) -> Store:
        """Return the store of this command, or raise CommandError if a setting is wrong."""
        return self.load_store(self.database)
