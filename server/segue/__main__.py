"""The composition root: settings in, a service chosen, a server or a command started."""

import gc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue.service import SessionService
    from segue.settings import Settings
    from segue.window import Redact


def main() -> None:
    """Run the `segue` command."""
    if sys.argv[1:2] == ["lsp"]:
        sys.exit(serve(sys.argv[2:]))
    from segue.cli import Composition, segue  # what only the commands need, the server never pays

    segue(obj=Composition(serve=serve, open_service=open_service))


def serve(arguments: list[str]) -> int:
    """Run `segue lsp`: the server of one editor window, on stdio."""
    # What is imported stays: to search it for garbage meanwhile is a tenth of the start.
    gc.disable()
    # Imported first of all: they decide how much of the rest has to be loaded and built.
    from segue.lean import lean_imports
    from segue.lsp import lazy_types

    lazy_types.install()
    lean_imports()
    import logging

    from segue.lsp.server import run
    from segue.settings import MEMORY, SettingsError, load_settings

    try:
        settings = load_settings(_parsed(arguments))
    except SettingsError as error:
        sys.stderr.write(f"segue: {error}\n")
        return 2
    logging.basicConfig(level=settings.log.upper(), format="segue: %(levelname)s: %(message)s")
    # At INFO it logs what people said.
    logging.getLogger("pygls").setLevel(max(logging.root.level, logging.WARNING))

    gc.freeze()
    gc.enable()
    database = None if settings.database == MEMORY else settings.database
    redact = redaction(settings)
    return run(lambda: open_service(settings), settings.continue_minutes, redact, database)


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """Return what the command line says, by the names of the settings."""
    if arguments in ([], ["--stdio"]):
        return {}  # what editors say: the parser is not loaded for it

    import argparse

    from segue.settings import LOG_LEVELS, REDACTIONS, minutes_of

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

    from segue.lean import lean_database

    lean_database()
    from segue.storage import library
    from segue.storage.local import LocalSessionService

    if (warning := library.warning()) is not None:
        logging.getLogger("segue").warning(warning)
    return await LocalSessionService.open(settings.database)


def redaction(settings: "Settings") -> "Redact":
    """Return what is done with the secrets in what an editor says: masked, unless it is off."""
    from segue.window import as_it_is

    def masked(value: Any, text: str) -> Any:
        from segue.redact import mask  # not before the first append: a start does not need it

        return mask(value, text)

    return as_it_is if settings.redact == "off" else masked


if __name__ == "__main__":
    main()
