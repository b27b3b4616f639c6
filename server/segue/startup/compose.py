"""The composition root: settings in, a service chosen, a server or a command started."""

import gc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue.sessions.window import Redact
    from segue.startup.settings import Settings
    from segue.store.service import SessionService


def main() -> None:
    """Run the `segue` command."""
    if sys.argv[1:2] == ["lsp"]:
        sys.exit(serve(sys.argv[2:]))
    from segue.cli import Composition, segue  # what only the commands need, the server never pays

    segue(obj=Composition(serve=serve, open_service=open_service))


def serve(arguments: list[str]) -> int:
    """Run `segue lsp`, the server of one editor window on stdio; return the exit code."""
    # Nothing that is imported becomes garbage: searching for it takes a tenth of the start.
    gc.disable()
    # Imported first: they decide how much of the rest is loaded and built.
    from segue.startup import lazy_lsp_types
    from segue.startup.lazy_imports import trim_imports

    lazy_lsp_types.install()
    trim_imports()
    import logging

    from segue.startup.settings import SettingsError, load_settings

    try:
        settings = load_settings(_parsed(arguments))
    except SettingsError as error:
        sys.stderr.write(f"segue: {error}\n")
        return 2
    logging.basicConfig(level=settings.log.upper(), format="segue: %(levelname)s: %(message)s")
    # At INFO it logs conversation text.
    logging.getLogger("pygls").setLevel(max(logging.root.level, logging.WARNING))
    return _serve_stdio(settings)


def _serve_stdio(settings: "Settings") -> int:
    import asyncio

    from segue.lsp import lifecycle
    from segue.lsp.framing.reader import FrameReader
    from segue.lsp.framing.writer import FrameWriter
    from segue.lsp.server import SessionServer
    from segue.lsp.transport import SessionProtocol
    from segue.sessions.window import Window
    from segue.startup.settings import MEMORY

    gc.freeze()
    gc.enable()
    stdin, stdout = lifecycle.claim_stdio()

    async def main() -> int:
        reader, writer = FrameReader(stdin), FrameWriter(stdout)
        window = Window(
            lambda: open_service(settings),
            settings.continue_minutes,
            redaction(settings),
            before_request=writer.wait_for_capacity,
        )
        server = SessionServer(
            window,
            lambda server: SessionProtocol(
                server,
                reader,
                writer,
                database=None if settings.database == MEMORY else settings.database,
                watch_process=lifecycle.watch_process,
            ),
        )
        return await lifecycle.serve(server.protocol, window, reader, writer)

    return asyncio.run(main())


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """Return what the command line says, by the names of the settings."""
    if arguments in ([], ["--stdio"]):
        return {}  # what editors say: the parser is not loaded for it

    import argparse

    from segue.startup.settings import LOG_LEVELS, REDACTIONS, minutes_of

    parser = argparse.ArgumentParser("segue lsp", description="Serve one editor window on stdio.")
    parser.add_argument("--stdio", action="store_true", help="accepted and ignored: it always is")
    parser.add_argument("--database", help="the SQLite file to keep sessions in")
    parser.add_argument("--continue-minutes", help="how old a session may be to be resumed")
    parser.add_argument("--log", choices=LOG_LEVELS, help="how much is said on stderr")
    parser.add_argument("--redact", choices=REDACTIONS, help="whether secrets are stored masked")
    given = vars(parser.parse_args(arguments))
    given.pop("stdio")
    given["continue_minutes"] = minutes_of(given["continue_minutes"], "--continue-minutes")
    return given


async def open_service(settings: "Settings") -> "SessionService":
    """Open the store that the settings name: the one place that knows which there are."""
    import logging

    from segue.startup.lazy_imports import import_aiosqlite_on_pysqlite3

    import_aiosqlite_on_pysqlite3()
    from segue.store.sqlite import driver
    from segue.store.sqlite.service import LocalSessionService

    if (warning := driver.warning()) is not None:
        logging.getLogger("segue").warning(warning)
    return await LocalSessionService.open(settings.database)


def redaction(settings: "Settings") -> "Redact":
    """Return what is done with the secrets in what an editor says: masked, unless it is off."""
    from segue.sessions.window import no_redaction

    def masked(value: Any, text: str) -> Any:
        from segue.redaction.engine import (
            mask,  # not before the first append: a start does not need it
        )

        return mask(value, text)

    return no_redaction if settings.redact == "off" else masked
