"""`segue acp -- COMMAND`: runs an agent behind the recording proxy, for any client of ACP."""

from typing import TYPE_CHECKING, Any

from segue.startup import process
from segue.startup.process import say

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from segue.acp.agent import AgentProcess
    from segue.startup.settings import Settings

_NOT_STARTED = 127
"""The exit code of a shell for a command that cannot be started."""

_SETTINGS_TIMEOUT_S = 2.0


def run(arguments: list[str]) -> int:
    """Run the agent until it or the client ends; return its exit code."""
    from segue.acp.agent import AgentProcess

    given, command = _parse(arguments)
    if (client := given.pop("print_config", None)) is not None:
        from segue.cli.acp_config import print_config

        return process.run_or_say(lambda: print_config(client, command))
    try:
        # First of all: it takes longer to start than the rest.
        agent = AgentProcess(command)
    except OSError as error:
        say(f"the agent {command[0]!r} cannot be started: {error.strerror}")
        return _NOT_STARTED
    from segue.startup import log_stream

    log_stream.install()
    # Imported first: they decide how much of the other libraries is loaded.
    from segue.startup.lazy_imports import trim_hashlib, trim_imports

    trim_hashlib()
    trim_imports()
    return _serve(agent, _load_settings(given))


def _load_settings(given: dict[str, Any]) -> "Settings":
    """Return the settings; without a store if they have a fault, or are not read in time."""
    import threading

    from segue.startup.settings import MEMORY, Settings, SettingsError, load_settings

    found: list[Settings] = []
    fault: object = f"the settings could not be read within {_SETTINGS_TIMEOUT_S} s"

    def load() -> None:
        nonlocal fault
        try:
            found.append(load_settings(given))
        except SettingsError as error:
            fault = error

    # A file system that never answers would hold up the conversation.
    thread = threading.Thread(target=load, name="segue-settings", daemon=True)
    thread.start()
    thread.join(_SETTINGS_TIMEOUT_S)
    if found:
        return found[0]
    # The person wants to talk with the agent all the same.
    say(f"nothing is recorded: {fault}")
    return Settings(database=MEMORY)


def _parse(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the command line by their names, and the agent's command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, command = arguments[:end], arguments[end + 1 :]
    if command and not options:
        return {}, command  # as clients start it: without loading the parser

    import argparse

    from segue.startup.settings import REDACTIONS

    parser = argparse.ArgumentParser(
        "segue acp",
        usage="segue acp [options] -- COMMAND...",
        description="Run an ACP agent, record what is said, and bring it back in any other.",
    )
    parser.add_argument("--database", help="the SQLite file that stores the sessions")
    parser.add_argument("--history-chars", help="how much of a history another agent is given")
    parser.add_argument(
        "--print-config", metavar="CLIENT", help="only print what to paste into a client's settings"
    )
    parser.add_argument("--redact", choices=REDACTIONS, help="whether secrets are stored masked")
    values = vars(parser.parse_args(options))
    if not command:
        parser.error("the agent's command is missing: segue acp -- COMMAND...")
    values["acp_history_chars"] = _history_chars(parser, values.pop("history_chars"))
    return values, command


def _history_chars(parser: "ArgumentParser", value: str | None) -> int | None:
    from segue.startup.settings import SettingsError, parse_history_chars

    try:
        return parse_history_chars(value, "--history-chars")
    except SettingsError as error:
        parser.error(str(error))


def _serve(agent: "AgentProcess", settings: "Settings") -> int:
    import asyncio

    from segue.acp.connection import Connection
    from segue.acp.lifecycle import EXIT_TIMEOUT_S, serve
    from segue.acp.relay import Relay
    from segue.acp.saving import Saver
    from segue.startup.compose import make_window, open_service
    from segue.stdio.descriptors import claim_stdio
    from segue.stdio.reader import ByteReader
    from segue.stdio.watchdog import Watchdog
    from segue.stdio.writer import ByteWriter

    stdin, stdout = claim_stdio()
    watchdog = Watchdog(stdin, EXIT_TIMEOUT_S)
    watchdog.start()

    async def work() -> int:
        to_client, to_agent = ByteWriter(stdout), ByteWriter(agent.stdin)
        relay = Relay((ByteReader(stdin), to_client), (ByteReader(agent.stdout), to_agent), say)
        window = make_window(settings, lambda: open_service(settings))
        connection = Connection(
            window=window,
            saver=Saver(window, say),
            to_client=relay.to_client,
            to_agent=relay.to_agent,
            wait_for_client=to_client.wait_for_capacity,
            history_chars=settings.acp_history_chars,
        )
        return await serve(relay, connection, agent, (to_client, to_agent), watchdog)

    return asyncio.run(work())
