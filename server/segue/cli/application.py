"""The context of the commands, and the error that ends them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from segue.model.errors import StorageError

if TYPE_CHECKING:
    from segue.model.store_reports import StoreEngine
    from segue.sessions.window import Window
    from segue.store.service import SessionService, StoreAdmin


class CommandError(click.ClickException):
    """Ends the command with exit code 1 and its message."""


class SettingError(CommandError):
    """A setting is wrong: ends the command with exit code 2, as wrong arguments do."""

    exit_code = 2


@attrs.frozen(kw_only=True)
class Store:
    """The store that the settings name."""

    admin: "StoreAdmin"
    config_file: str | None
    """The path of the settings file, whether it exists or not; None if there is no home."""

    warnings: Sequence[str]
    """What was ignored in the settings file, one sentence each."""

    folders: Sequence[str]
    """The folders that the store writes to, whether they exist or not."""

    sandboxed_stores: Callable[[], list[str]]
    """Returns the paths of stores that editors in sandboxes have made for themselves."""

    hook_folder: str | None
    """The folder of the hooks' log, and of what `segue hook install` notes; None if none is."""

    open_existing: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, or an empty one in memory if it does not exist: reading creates no store."""

    open: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, and creates it if it does not exist."""

    load_redact: "Callable[[], Callable[[Any, str], Any]]"
    """Returns the function that masks secrets before something is stored."""

    make_window: "Callable[[], Window]"
    """Returns a window on what `open_existing` opens: it masks secrets as an editor's does."""


@attrs.frozen(kw_only=True)
class Application:
    """The context of the commands, made by `startup.compose`."""

    serve: Callable[[list[str]], int]
    """Runs `segue lsp` with these arguments and returns the exit code."""

    load_store: Callable[[str | None], Store]
    """Returns the store of the settings; the argument is the `--database` option, if it was given.

    Raises SettingError if one is wrong.
    """

    local_engine: "Callable[[], StoreEngine]"
    """Returns the engine of the store that is used without any setting."""

    database: str | None = None
    """The `--database` option."""

    def store(self, *, creates: bool = False) -> Store:
        """Return the store of this command.

        Raises SettingError if a setting is wrong, and CommandError if `--database` names what does
        not exist, unless the command *creates* it: a mistyped path is not an empty store.
        """
        store = self.load_store(self.database)
        try:
            if not creates and self.database not in (None, ":memory:") and not store.admin.exists():
                raise CommandError(f"there is no database at {store.admin.location}")
        except StorageError as error:
            raise CommandError(str(error)) from None
        return store
