"""The composition root: loads the settings, chooses the store, and starts a server or a command."""

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from segue.startup import process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from segue.cli.application import Application, OtherStore, SharedDatabase, Store
    from segue.model.records import Machine
    from segue.model.store_reports import StoreEngine
    from segue.sessions.window import Redact, Window
    from segue.startup.settings import Settings
    from segue.store.service import SessionService, StoreAdmin


def main() -> None:
    """Run the `segue` command with the arguments of this process."""
    process.prepare()
    sys.exit(process.finish(lambda: _run(sys.argv[1:])))


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["lsp"]:
        return serve(arguments[1:])
    if arguments[:1] == ["acp"]:
        from segue.startup import acp

        return acp.run(arguments[1:])
    if arguments[:1] == ["mcp"]:
        from segue.startup import mcp

        return mcp.run(arguments[1:])
    if arguments[:1] == ["hook"] and len(arguments) == 2:
        from segue.startup import hook

        if hook.is_for(arguments[1]):
            hook.run(arguments[1])
    # Not at the top: a server does not load what only the commands need.
    from segue.cli import run_command

    return run_command(make_application(), arguments)


def make_application() -> "Application":
    """Return the context of the commands."""
    from segue.cli.application import Application

    return Application(
        serve=serve,
        load_store=load_store,
        run_until_interrupted=run_until_interrupted,
        local_engine=local_engine,
        open_database=open_database,
    )


def run_until_interrupted(work: "Callable[[], Coroutine[Any, Any, None]]") -> None:
    """Run *work* until a signal, or the end of the standard input, cancels it."""
    from segue.startup import interruption  # only for a command that needs it

    interruption.run_until_interrupted(work)


def serve(arguments: list[str]) -> int:
    """Run `segue lsp`, the server of one editor window on stdio; return the exit code."""
    # Nothing that is imported becomes garbage, and collections take a tenth of the start time.
    gc.disable()
    from segue.startup import log_stream

    log_stream.install()
    # Imported first: they decide how much of the other libraries is loaded.
    from segue.startup import lazy_lsp_types
    from segue.startup.lazy_imports import trim_imports, trim_pygls

    lazy_lsp_types.install()
    failed_trims = [*trim_imports(), *trim_pygls()]
    import logging

    from segue.startup.settings import SettingsError, load_settings

    try:
        settings = load_settings(_parse(arguments))
        check_stdio("segue lsp", "an editor")
    except SettingsError as error:
        process.say(str(error))
        return 2
    logging.basicConfig(level=settings.log.upper(), format="segue: %(levelname)s: %(message)s")
    # At INFO it logs conversation text.
    logging.getLogger("pygls").setLevel(max(logging.root.level, logging.WARNING))
    _warn([*failed_trims, *settings.warnings])
    try:
        return _serve_stdio(settings)
    except (MemoryError, OSError, RuntimeError) as error:
        # RuntimeError: no thread can be started.
        process.say(f"the server cannot go on: {error or 'no memory is left'}")
        return 1


def check_stdio(command: str, client: str) -> None:
    """Raise SettingsError if *command* has no standard streams; at a terminal, say what it awaits.

    *client* is what starts it otherwise, such as `an editor`.
    """
    from segue.startup.settings import SettingsError

    if sys.stdin is None or sys.stdout is None:
        raise SettingsError(f"`{command}` needs a standard input and output; one of them is closed")
    if os.isatty(0):
        process.say(
            f"`{command}` waits for the messages of {client} on its standard input; Ctrl-D ends it"
        )


def _serve_stdio(settings: "Settings") -> int:
    import asyncio

    from segue.lsp import lifecycle
    from segue.lsp.framing.reader import FrameReader
    from segue.lsp.framing.writer import FrameWriter
    from segue.lsp.server import SessionServer
    from segue.lsp.transport import SessionProtocol
    from segue.stdio.descriptors import claim_stdio
    from segue.stdio.watchdog import Watchdog

    gc.freeze()
    gc.enable()
    stdin, stdout = claim_stdio()
    watchdog = Watchdog(stdin)
    watchdog.start()

    async def run() -> int:
        reader, writer = FrameReader(stdin), FrameWriter(stdout)
        window = make_window(settings, lambda: open_service(settings), writer.wait_for_capacity)
        server = SessionServer(
            window,
            lambda server: SessionProtocol(
                server,
                reader,
                writer,
                database=_shown_database(settings),
                watch_process=watchdog.watch_process,
            ),
        )
        return await lifecycle.serve(server.protocol, window, reader, writer, watchdog)

    return asyncio.run(run())


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Return the settings of the command line by their names."""
    if arguments in ([], ["--stdio"]):
        return {}  # as editors start it: without loading the parser

    import argparse

    from segue.startup.settings import LOG_LEVELS, REDACTIONS, parse_minutes

    parser = argparse.ArgumentParser("segue lsp", description="Serve one editor window on stdio.")
    parser.add_argument("--stdio", action="store_true", help="accepted and ignored: always on")
    parser.add_argument("--database", help="the SQLite file that stores the sessions")
    parser.add_argument("--continue-minutes", help="how old a session may be to be resumed")
    parser.add_argument("--log", choices=LOG_LEVELS, help="the least severe level on stderr")
    parser.add_argument("--redact", choices=REDACTIONS, help="whether secrets are stored masked")
    values = vars(parser.parse_args(arguments))
    values.pop("stdio")
    values["continue_minutes"] = parse_minutes(values["continue_minutes"], "--continue-minutes")
    return values


def load_store(database: str | None) -> "Store":
    """Return the store of the settings, or raise SettingError if one is wrong."""
    from segue.cli.application import SettingError, Store
    from segue.model.errors import StorageError
    from segue.startup import folders
    from segue.startup.settings import SettingsError, config_file, load_settings

    try:
        settings = load_settings({"database": database})
    except SettingsError as error:
        raise SettingError(str(error)) from None
    try:
        admin = open_admin(settings)
    except StorageError as error:
        raise SettingError(str(error)) from None
    file = config_file()
    return Store(
        admin=admin,
        load_remote=lambda: None if settings.remote is None else _other(settings, settings.remote),
        other=lambda database: _other(settings, _named(database)),
        config_file=None if file is None else str(file),
        warnings=settings.warnings,
        folders=_written_folders(settings),
        sandboxed_stores=folders.sandboxed_stores,
        open_existing=lambda: open_existing(settings),
        open=lambda: open_service(settings),
        load_redact=lambda: redaction_of(settings)(),
        make_window=lambda service: make_window(settings, lambda: _opened(service)),
        continue_minutes=settings.continue_minutes,
        hook_folder=hook_folder(settings),
        data_folder=hook_folder(None),
    )


def _named(database: str) -> str:
    """Return what *database*, an argument of a command, names; raise SettingError."""
    from segue.cli.application import SettingError
    from segue.startup.settings import SettingsError, resolved

    try:
        return resolved("--to", database)
    except SettingsError as error:
        raise SettingError(str(error)) from None


def _other(settings: "Settings", database: str) -> "OtherStore":
    """Return the store *database*, beside that of the settings; raise SettingError."""
    import attrs

    from segue.cli.application import OtherStore, SettingError
    from segue.model.errors import StorageError

    other = attrs.evolve(settings, database=database)
    try:
        admin = open_admin(other)
    except StorageError as error:
        raise SettingError(str(error)) from None
    return OtherStore(
        admin=admin,
        open=lambda: open_service(other),
        folder=os.path.dirname(database) if _is_file(other) else None,
        is_same=database == settings.database,
        this_machine=_this_machine,
    )


async def _opened(service: "SessionService") -> "SessionService":
    return service


def hook_folder(settings: "Settings | None") -> str | None:
    """Return the folder of the hooks' log: that of the database, else of the user's data."""
    from segue.startup import folders

    if settings is not None and _is_file(settings):
        return os.path.dirname(settings.database)
    folder = folders.data_folder()
    return None if folder is None else str(folder)


def _written_folders(settings: "Settings") -> list[str]:
    if not _is_file(settings):
        return []
    folder = os.path.dirname(settings.database)
    return [folder, os.path.join(folder, "backups")]


def _is_file(settings: "Settings") -> bool:
    from segue.startup.settings import MEMORY, is_postgres

    return settings.database != MEMORY and not is_postgres(settings.database)


def _shown_database(settings: "Settings") -> str | None:
    """Return what a client is told that the database is; None if nothing is stored."""
    from segue.startup.settings import MEMORY, is_postgres, without_password

    if settings.database == MEMORY:
        return None
    if is_postgres(settings.database):
        return without_password(settings.database)
    return settings.database


def make_window(
    settings: "Settings",
    open_store: "Callable[[], Awaitable[SessionService]]",
    before_request: "Callable[[], Awaitable[None]] | None" = None,
) -> "Window":
    """Return a window on what *open_store* opens; `Window` says what *before_request* is."""
    from segue.sessions.window import Window, no_wait

    return Window(
        open_store,
        settings.continue_minutes,
        redaction_of(settings),
        before_request=before_request or no_wait,
    )


def redaction_of(settings: "Settings") -> "Callable[[], Redact]":
    """Return what loads the redaction of the settings."""
    if settings.redact != "off":
        return load_redact
    from segue.sessions.window import no_redaction  # a hook has no window

    return no_redaction


async def open_service(settings: "Settings") -> "SessionService":
    """Open the store of the settings, and create it if it does not exist.

    This function, `open_admin` and `local_engine` are the only places that choose a store.
    """
    from segue.startup.settings import is_postgres

    if is_postgres(settings.database):
        _require_psycopg()
        from segue.store.postgres.service import PostgresSessionService

        return await PostgresSessionService.open(settings.database, machine=_this_machine())
    from segue.startup.lazy_imports import import_aiosqlite_on_pysqlite3

    failed_trims = import_aiosqlite_on_pysqlite3()
    from segue.store.sqlite import driver
    from segue.store.sqlite.service import LocalSessionService

    _warn([*failed_trims, *filter(None, [driver.warning()])])
    return await LocalSessionService.open(settings.database)


def open_admin(settings: "Settings") -> "StoreAdmin":
    """Return the admin of the store of the settings."""
    from segue.startup.settings import is_postgres

    if is_postgres(settings.database):
        _require_psycopg()
        from segue.store.postgres.admin import PostgresStoreAdmin

        return PostgresStoreAdmin(settings.database, machine=_this_machine())
    from segue.store.sqlite.admin import LocalStoreAdmin

    return LocalStoreAdmin(settings.database)


def _require_psycopg() -> None:
    """Raise StorageUnavailable if what connects to PostgreSQL is not installed."""
    from importlib.util import find_spec

    from segue.model.errors import StorageUnavailable

    if find_spec("psycopg") is None:
        raise StorageUnavailable(
            "A package is missing that connects to PostgreSQL databases. "
            "In a clone of Segue, `uv tool install '.[postgres]'` installs both"
        )


def _this_machine() -> "Machine":
    from segue.startup import folders
    from segue.startup.machine import this_machine

    return this_machine(folders.data_folder())


async def open_existing(settings: "Settings") -> "SessionService":
    """Open the store of the settings, or an empty one in memory if it does not exist."""
    import attrs

    from segue.startup.settings import MEMORY

    if not open_admin(settings).exists():
        settings = attrs.evolve(settings, database=MEMORY)
    return await open_service(settings)


def local_engine() -> "StoreEngine":
    """Return the engine of the store that is used without any setting."""
    from segue.store.sqlite.admin import sqlite_engine

    return sqlite_engine()


def open_database(url: str) -> "SharedDatabase":
    """Return the administration of a PostgreSQL database, or raise a CommandError."""
    from segue.cli.application import CommandError, SettingError
    from segue.model.errors import StorageUnavailable

    try:
        _require_psycopg()
    except StorageUnavailable as error:
        raise CommandError(str(error)) from None
    from segue.store.postgres.database import PostgresDatabase

    try:
        return PostgresDatabase(url)
    except StorageUnavailable as error:
        raise SettingError(str(error)) from None


def load_redact() -> "Redact":
    """Return the function that masks secrets; its rules are compiled when it first needs them."""
    from segue.redaction.engine import mask

    return mask


def _warn(messages: list[str]) -> None:
    if messages:
        import logging

        for message in messages:
            logging.getLogger("segue").warning("%s", message)
