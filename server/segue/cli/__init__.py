"""The `segue` command; what a subcommand imports is loaded only when it runs."""

from typing import TYPE_CHECKING

import click

import segue as package

if TYPE_CHECKING:
    from segue.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="segue", message="%(prog)s %(version)s")
@click.option("--database", metavar="PATH", help="The SQLite file that sessions are kept in.")
@click.pass_context
def segue(context: click.Context, database: str | None) -> None:
    """Keep the AI conversations that you have in your editors, and bring the right one back."""
    context.obj = database


@segue.command("lsp", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def lsp_command(database: str | None, arguments: tuple[str, ...]) -> None:
    """Serve one editor window: JSON-RPC on stdio."""
    from segue.__main__ import serve

    given = [] if database is None else ["--database", database]
    raise SystemExit(serve([*given, *arguments]))


@segue.command("demo")
def demo_command() -> None:
    """Record a conversation, be killed, and resume it, before your eyes."""
    from segue.cli.demo import run

    raise SystemExit(run())


@segue.command("list")
@click.option("--cwd", metavar="DIR", help="Only those of this workspace and its worktrees.")
@click.option("--archived", is_flag=True, help="The archived ones too.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the answer of session/list.")
@click.pass_obj
def list_command(
    database: str | None, cwd: str | None, archived: bool, limit: int, as_json: bool
) -> None:
    """List the sessions, newest first."""
    import os

    from segue.cli.running import with_service
    from segue.cli.sessions import list_sessions

    where = None if cwd is None else os.path.abspath(cwd)
    with_service(
        _settings(database),
        lambda service: list_sessions(
            service, where, archived=archived, limit=limit, as_json=as_json
        ),
    )


@segue.command("show")
@click.argument("session_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The session and its events, as on the wire.")
@click.pass_obj
def show_command(database: str | None, session_id: str, as_json: bool) -> None:
    """Show one conversation whole."""
    from segue.cli.running import with_service
    from segue.cli.sessions import show_session

    with_service(
        _settings(database), lambda service: show_session(service, session_id, as_json=as_json)
    )


@segue.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def doctor_command(database: str | None, as_json: bool) -> None:
    """Check the versions, the linked SQLite and the data. Changes nothing."""
    from segue.cli.doctor import run

    raise SystemExit(run(_settings(database), as_json=as_json))


def _settings(database: str | None) -> "Settings":
    from segue.settings import SettingsError, load_settings

    try:
        return load_settings({"database": database})
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
