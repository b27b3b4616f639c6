"""The context of the commands, and the error that ends them."""

import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import click

from segue.model.errors import StorageError

if TYPE_CHECKING:
    from segue.model.database_reports import (
        AddedUser,
        DatabaseReport,
        Installation,
        UserContents,
        VacuumReport,
    )
    from segue.model.records import Machine
    from segue.model.store_reports import Finding, StoreEngine
    from segue.sessions.window import Window
    from segue.store.service import SessionService, StoreAdmin


class CommandError(click.ClickException):
    """Ends the command with exit code 1 and its message."""


class SettingError(CommandError):
    """A setting is wrong: ends the command with exit code 2, as wrong arguments do."""

    exit_code = 2


def current_directory() -> str:
    """Return the current directory, or raise CommandError if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise CommandError("The current directory was removed. Go to another one.") from None


@attrs.frozen(kw_only=True)
class OtherStore:
    """A store beside the one that the settings name: to be in step with, or to be copied to."""

    admin: "StoreAdmin"

    open: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, and creates it if it does not exist."""

    folder: str | None
    """The folder of its file; None if it is a database that an administrator makes."""

    is_same: bool
    """Whether it is the store itself."""

    this_machine: "Callable[[], Machine]"
    """Returns this machine; the first call makes the file with its id."""


@attrs.frozen(kw_only=True)
class Store:
    """The store that the settings name."""

    admin: "StoreAdmin"

    load_remote: Callable[[], OtherStore | None]
    """Returns the store that `segue sync` brings this one in step with; None if none is set.

    Raises SettingError if it cannot be used.
    """

    other: Callable[[str], OtherStore]
    """Returns the store that a path or a `postgresql://` URL names; raises SettingError."""

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

    data_folder: str | None
    """The folder of what is kept for the user, whichever the store is; None if none is."""

    open_existing: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, or an empty one in memory if it does not exist: reading creates no store."""

    open: "Callable[[], Awaitable[SessionService]]"
    """Opens the store, and creates it if it does not exist."""

    load_redact: "Callable[[], Callable[[Any, str], Any]]"
    """Returns the function that masks secrets before something is stored."""

    make_window: "Callable[[SessionService], Window]"
    """Returns a window on a service: it masks secrets as an editor's does."""

    continue_minutes: float
    """How old a session may be to be resumed automatically."""


class SharedDatabase(Protocol):
    """The administration of a database that several people share. The calls block.

    They raise DatabaseSetupError, or StorageUnavailable if the server cannot be reached.
    """

    def install(self) -> "tuple[Installation, Sequence[Finding]]":
        """Create the store, or bring it up to date; also return what to say of the server."""

    def add_user(self, name: str, password: str | None, *, existing: bool) -> "AddedUser":
        """Let the role *name* use the store; it is created unless it is an *existing* one."""

    def contents_of(self, name: str) -> "UserContents":
        """Return what the user *name* has in the store."""

    def remove_user(self, name: str, *, keeps_role: bool) -> None:
        """Delete all that the user *name* has, and then the role, unless it *keeps_role*."""

    def report(self) -> "DatabaseReport":
        """Return the state of the store and of its server; nothing is changed."""

    def vacuum(self, *, is_full: bool) -> "VacuumReport":
        """Remove dead rows from the tables, which are written anew and locked if *is_full*."""


@attrs.frozen(kw_only=True)
class Application:
    """The context of the commands, made by `startup.compose`."""

    serve: Callable[[list[str]], int]
    """Runs `segue lsp` with these arguments and returns the exit code."""

    load_store: Callable[[str | None], Store]
    """Returns the store of the settings; the argument is the `--database` option, if it was given.

    Raises SettingError if one is wrong.
    """

    run_until_interrupted: "Callable[[Callable[[], Coroutine[Any, Any, None]]], None]"
    """Runs a command that goes on until a signal, or the end of its standard input, cancels it."""

    local_engine: "Callable[[], StoreEngine]"
    """Returns the engine of the store that is used without any setting."""

    open_database: Callable[[str], SharedDatabase]
    """Returns the administration of the database of a `postgresql://` URL.

    Raises SettingError if the URL is not understood, and CommandError if psycopg is not installed.
    """

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
