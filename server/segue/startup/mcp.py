"""`segue mcp`: lets an agent list, search and read earlier conversations, for any MCP client."""

import gc
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from segue.startup import process
from segue.startup.process import say

if TYPE_CHECKING:
    from segue.startup.settings import Settings

_MISSING = (
    "`segue mcp` needs the MCP SDK, which is not installed here: `uv tool install 'segue[mcp]'`, "
    "or `uv tool install '.[mcp]'` in a clone of Segue, installs both"
)

_EXIT_TIMEOUT_S = 2.0
"""How long the end may take: nothing is lost by it."""


def run(arguments: list[str]) -> int:
    """Serve one client on stdio until it goes away; return the exit code."""
    from segue.startup import log_stream

    given = _parse(arguments)
    client = given.pop("print_config")
    if client is not None:
        from segue.cli.mcp_config import print_config

        return process.run_or_say(lambda: print_config(client, given["database"]))
    if find_spec("mcp") is None or find_spec("mcp_types") is None:  # the SDK before 2 has no types
        say(_MISSING)
        return 1
    log_stream.install()
    # As in `compose.serve`.
    gc.disable()
    from segue.startup.lazy_imports import trim_imports

    failed_trims = trim_imports()
    import logging

    from segue.startup.compose import check_stdio
    from segue.startup.settings import SettingsError, load_settings

    try:
        settings = load_settings(given)
        check_stdio("segue mcp", "an agent")
    except SettingsError as error:
        say(str(error))
        return 2
    # At INFO the SDK logs requests.
    logging.basicConfig(level=logging.WARNING, format="segue: %(levelname)s: %(message)s")
    return _serve(settings, [*failed_trims, *settings.warnings])


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Return the options of the command line by their names."""
    import argparse

    parser = argparse.ArgumentParser(
        "segue mcp",
        description="Let an agent list, search and read earlier conversations: MCP on stdio.",
    )
    parser.add_argument("--database", help="the SQLite file that stores the sessions")
    parser.add_argument(
        "--print-config", metavar="CLIENT", help="only print what to paste into a client's settings"
    )
    return vars(parser.parse_args(arguments))


def _serve(settings: "Settings", warnings: list[str]) -> int:
    import asyncio
    import logging

    # First of all: the SDK takes longer to import than the client may take to go away.
    from segue.stdio.descriptors import claim_stdio
    from segue.stdio.watchdog import Watchdog

    stdin, stdout = claim_stdio()
    watchdog = Watchdog(stdin, _EXIT_TIMEOUT_S)
    watchdog.start()

    from segue.startup.lazy_imports import trim_mcp

    for warning in [*warnings, *trim_mcp()]:
        logging.getLogger("segue").warning("%s", warning)
    from segue.mcp.lifecycle import serve
    from segue.mcp.marking import Cleaner
    from segue.mcp.server import SegueTools
    from segue.startup.compose import load_redact, open_existing

    # Whatever the setting `redact` says: an agent is another program than the one that stored it.
    tools = SegueTools(lambda: open_existing(settings), Cleaner(load_redact()))
    gc.freeze()
    gc.enable()
    asyncio.run(serve(tools, stdin, stdout, watchdog))
    return 0
