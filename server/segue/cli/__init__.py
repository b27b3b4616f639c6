"""The `segue` command; what a subcommand imports is loaded only when it runs."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import click

import segue as package

if TYPE_CHECKING:
    from segue.startup.settings import Settings
    from segue.store.service import SessionService


@attrs.define(kw_only=True)
class Composition:
    """What the composition root hands to the commands."""

    serve: Callable[[list[str]], int]
    open_service: "Callable[[Settings], Awaitable[SessionService]]"
    database: str | None = None

    def settings(self) -> "Settings":
        """Return the settings, or end the command with what is wrong with them."""
        from segue.startup.settings import SettingsError, load_settings

        try:
            return load_settings({"database": self.database})
        except SettingsError as error:
            raise click.ClickException(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="segue", message="%(prog)s %(version)s")
@click.option("--database", metavar="PATH", help="The SQLite file that sessions are kept in.")
@click.pass_obj
def segue(composition: Composition, database: str | None) -> None:
    """Keep the AI conversations that you have in your editors, and bring the right one back."""
    composition.database = database


@segue.command("lsp", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def lsp_command(composition: Composition, arguments: tuple[str, ...]) -> None:
    """Serve one editor window: JSON-RPC on stdio."""
    given = [] if composition.database is None else ["--database", composition.database]
    raise SystemExit(composition.serve([*given, *arguments]))


@segue.command("demo")
def demo_command() -> None:
    """Record a conversation, be killed, and resume it, before your eyes."""
    from segue.cli.demo import run

    raise SystemExit(run())


@segue.command("list")
@click.option(
    "--cwd",
    type=click.Path(resolve_path=True),
    metavar="DIR",
    help="Only those of this workspace and its worktrees.",
)
@click.option("--archived", is_flag=True, help="The archived ones too.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the answer of session/list.")
@click.pass_obj
def list_command(
    composition: Composition, cwd: str | None, archived: bool, limit: int, as_json: bool
) -> None:
    """List the sessions, newest first."""
    from segue.cli.sessions import list_sessions, with_service

    with_service(
        composition,
        lambda service: list_sessions(
            service, cwd, archived=archived, limit=limit, as_json=as_json
        ),
    )


@segue.command("show")
@click.argument("session_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The session and its events, as on the wire.")
@click.pass_obj
def show_command(composition: Composition, session_id: str, as_json: bool) -> None:
    """Show one conversation whole."""
    from segue.cli.sessions import show_session, with_service

    with_service(composition, lambda service: show_session(service, session_id, as_json=as_json))


@segue.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--repair",
    "is_repair",
    is_flag=True,
    help="Set a damaged database aside, and save what can be read.",
)
@click.pass_obj
def doctor_command(composition: Composition, as_json: bool, is_repair: bool) -> None:
    """Check the versions, the linked SQLite and the data. Changes nothing without --repair."""
    from segue.cli.doctor import repair, run

    settings = composition.settings()
    raise SystemExit(repair(settings) if is_repair else run(settings, as_json=as_json))


@segue.command("backup")
@click.argument("path", required=False, type=click.Path(resolve_path=True))
@click.pass_obj
def backup_command(composition: Composition, path: str | None) -> None:
    """Copy all sessions to PATH, verified, while editors go on writing.

    Without PATH, into the folder `backups` beside the database. What is deleted later stays in a
    copy: delete the copies too, if that matters.
    """
    from segue.cli.backup import run

    raise SystemExit(run(composition.settings(), path))
