"""The `segue` command; what a subcommand imports is loaded only when it runs."""

import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
import click

import segue as package
from segue.cli.application import Application, CommandError
from segue.cli.printing import OutputClosedError, prepare_output, print_error, visible

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGE = re.compile(r"([0-9]{1,5})([hdw])")


def run_command(application: Application, arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. What fails outside of Segue is said in one sentence.

    0: done. 1: something is wrong, or was not found. 2: the command, or a setting, is wrong.
    Raises OSError if the output cannot be written.
    """
    prepare_output()
    try:
        code = segue.main(
            list(arguments), prog_name="segue", obj=application, standalone_mode=False
        )
    except click.UsageError as error:
        usage = "" if error.ctx is None else f"{error.ctx.get_usage()}\n"
        print_error(f"{usage}Error: {error.format_message()}")
        return error.exit_code
    except click.ClickException as error:
        print_error(f"Error: {visible(error.format_message())}")
        return error.exit_code
    except OutputClosedError as error:
        print_error(f"Error: {error}")
        return 1
    except (click.Abort, KeyboardInterrupt):
        print_error("Error: interrupted")
        return 1
    return code or 0


def _absolute(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the path *value* made absolute, or raise CommandError."""
    if value is None:
        return None
    if not value or "\0" in value:
        raise click.BadParameter("expected a path", context, parameter)
    try:
        return os.path.realpath(value)
    except FileNotFoundError:
        raise CommandError(
            f"{value} is relative to the current folder, which was removed. Give an absolute path."
        ) from None


def _title(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the title *value* if it is one that a window accepts."""
    from segue.protocol.methods import TITLE

    if value is not None:
        try:
            TITLE.check(value)
        except ValueError as error:
            raise click.BadParameter(f"it {error}", context, parameter) from None
    return value


def _age(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    """Return the age that *value* names: `12h`, `90d` or `2w`."""
    if not (match := _AGE.fullmatch(value)):
        message = "expected a number of hours, days or weeks, such as 12h, 90d or 2w"
        raise click.BadParameter(message, context, parameter)
    return int(match[1]) * _UNITS[match[2]]


def _since(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Return the time that *value* names, an age or a local date or time, in milliseconds."""
    if value is None:
        return None
    try:
        if match := _AGE.fullmatch(value):
            time = datetime.now() - int(match[1]) * _UNITS[match[2]]
        else:
            time = datetime.fromisoformat(value)
        return int(time.timestamp() * 1_000)
    except (ValueError, OverflowError, OSError):
        message = "expected an age such as 2h, 3d or 1w, or a time such as 2026-08-01T12:00"
        raise click.BadParameter(message, context, parameter) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="segue", message="%(prog)s %(version)s")
@click.option("--database", metavar="PATH", help="The SQLite file that stores the sessions.")
@click.pass_context
def segue(context: click.Context, database: str | None) -> None:
    """Keep the AI conversations that you have in your editors, and bring the right one back."""
    context.obj = attrs.evolve(context.obj, database=database)


@segue.command("lsp", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def lsp_command(application: Application, arguments: tuple[str, ...]) -> int:
    """Serve one editor window: JSON-RPC on stdio."""
    given = [] if application.database is None else ["--database", application.database]
    return application.serve([*given, *arguments])


@segue.command("demo")
@click.pass_obj
def demo_command(application: Application) -> int:
    """Record a conversation, kill the server, and resume it."""
    from segue.cli.demo import run

    return run(application.local_engine())


@segue.command("list")
@click.option(
    "--cwd",
    callback=_absolute,
    metavar="DIR",
    help="Only sessions of this workspace and its worktrees.",
)
@click.option("--archived", is_flag=True, help="Include archived sessions.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the result of session/list.")
@click.pass_obj
def list_command(
    application: Application, cwd: str | None, archived: bool, limit: int, as_json: bool
) -> None:
    """List the sessions, newest first."""
    from segue.cli.sessions import list_sessions, run_with_service

    run_with_service(
        application.store(),
        lambda service: list_sessions(
            service, cwd, archived=archived, limit=limit, as_json=as_json
        ),
    )


@segue.command("show")
@click.argument("session_id", metavar="ID")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the session and its events as JSON, as in the protocol.",
)
@click.pass_obj
def show_command(application: Application, session_id: str, as_json: bool) -> None:
    """Show a whole conversation."""
    from segue.cli.sessions import run_with_service, show_session

    run_with_service(
        application.store(), lambda service: show_session(service, session_id, as_json=as_json)
    )


@segue.command("export")
@click.argument("session_id", metavar="ID")
@click.option(
    "--format",
    "format",
    type=click.Choice(["markdown", "jsonl", "html"]),
    default="markdown",
    show_default=True,
)
@click.option(
    "-o", "--output", callback=_absolute, metavar="FILE", help="Write a file, private to you."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--turns", type=click.IntRange(1), metavar="N", help="Only the last N turns.")
@click.option(
    "--since", callback=_since, metavar="AGE|TIME", help="Only what was said since: 2h, 3d, a date."
)
@click.option("--no-tools", is_flag=True, help="Only what was said: no tools, thinking, context.")
@click.pass_obj
def export_command(
    application: Application,
    session_id: str,
    format: str,
    output: str | None,
    force: bool,
    turns: int | None,
    since: int | None,
    no_tools: bool,
) -> None:
    """Print a conversation as Markdown, JSON lines or one HTML page.

    Markdown is for a pull request, the page for people without Segue; it loads and runs nothing.
    JSON lines have everything: `segue import FILE` takes them back.
    """
    if format == "jsonl" and (turns or since is not None or no_tools):
        raise click.UsageError("JSON lines have the whole conversation: leave out the selection.")
    if force and output is None:
        raise click.UsageError("--force is for --output.")
    from segue.cli.exporting import Selection, export
    from segue.cli.sessions import run_with_service

    selection = Selection(turns=turns, since=since, no_tools=no_tools)
    run_with_service(
        application.store(),
        lambda service: export(service, session_id, format, output, selection, replaces=force),
    )


@segue.command("fork")
@click.argument("session_id", metavar="ID")
@click.option(
    "--at",
    metavar="SEQ|EVENT-ID",
    help="The last event of the fork: its number in `segue show`, or its id.",
)
@click.option("--title", callback=_title, help="Instead of `copy of …`.")
@click.option("--archive-original", is_flag=True, help="Let the fork take the original's place.")
@click.pass_obj
def fork_command(
    application: Application,
    session_id: str,
    at: str | None,
    title: str | None,
    archive_original: bool,
) -> None:
    """Make a new conversation that begins with the events of another one.

    Prints its id and title. Each can be continued and deleted without the other. With
    --archive-original this goes back to an earlier event; `segue unarchive ID` undoes it.
    """
    from segue.cli.changes import fork
    from segue.cli.sessions import run_with_window

    run_with_window(
        application.store(),
        lambda window: fork(
            window, session_id, at=at, title=title, archive_original=archive_original
        ),
    )


@segue.command("rename")
@click.argument("session_id", metavar="ID")
@click.argument("title", required=False, callback=_title)
@click.option("--automatic", is_flag=True, help="Let it have its automatic title again.")
@click.pass_obj
def rename_command(
    application: Application, session_id: str, title: str | None, automatic: bool
) -> None:
    """Give a conversation a title, which stays whatever is said in it.

    TITLE is one line of 1 to 200 characters. Secrets in it are masked, as in conversations.
    """
    if automatic is (title is not None):
        raise click.UsageError("Give either TITLE or --automatic.")
    from segue.cli.changes import rename
    from segue.cli.sessions import run_with_window

    run_with_window(application.store(), lambda window: rename(window, session_id, title))


@segue.command("archive")
@click.argument("session_id", metavar="ID")
@click.pass_obj
def archive_command(application: Application, session_id: str) -> None:
    """Put a conversation aside: it is listed with --archived only, and never resumed by itself."""
    from segue.cli.changes import archive
    from segue.cli.sessions import run_with_service

    run_with_service(application.store(), lambda service: archive(service, session_id))


@segue.command("unarchive")
@click.argument("session_id", metavar="ID")
@click.pass_obj
def unarchive_command(application: Application, session_id: str) -> None:
    """Bring an archived conversation back."""
    from segue.cli.changes import unarchive
    from segue.cli.sessions import run_with_service

    run_with_service(application.store(), lambda service: unarchive(service, session_id))


@segue.command("prune")
@click.option(
    "--older-than",
    metavar="AGE",
    required=True,
    callback=_age,
    help="Only those that were archived so long ago: 12h, 90d or 2w. 0d: all archived ones.",
)
@click.option("--live", is_flag=True, help="Also those that were never archived, by their update.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, even with --yes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and do not ask.")
@click.pass_obj
def prune_command(
    application: Application,
    older_than: timedelta,
    live: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Delete archived conversations for good, but none that is open in a window.

    Shows what would be deleted and asks. Where nobody can be asked and --yes is not given, it is a
    dry run. Events that forks have stay in the forks, and BYTES is what no other conversation has.
    Backups and other copies of the database are left as they are.
    """
    if live and not older_than:
        raise click.UsageError("--live with an age of 0 would delete every conversation.")
    from segue.cli.prune import prune
    from segue.cli.sessions import run_with_service

    store = application.store()
    return run_with_service(
        store,
        lambda service: prune(
            service,
            store.admin,
            older_than,
            live=live,
            dry_run=dry_run,
            is_confirmed=yes,
            as_json=as_json,
        ),
    )


@segue.command("resume")
@click.argument("session_id", metavar="ID")
@click.option("--print", "is_print", is_flag=True, help="Only print the command.")
@click.pass_obj
def resume_command(application: Application, session_id: str, is_print: bool) -> None:
    """Go on with an imported conversation in its own program, such as `claude --resume`."""
    from segue.cli.resume import command_of, print_command, run
    from segue.cli.sessions import run_with_service

    command, directory = run_with_service(
        application.store(), lambda service: command_of(service, session_id)
    )
    (print_command if is_print else run)(command, directory)


@segue.command("import")
@click.argument("given", metavar="[SOURCE|FILE]...", nargs=-1)
@click.option("--discover", is_flag=True, help="Only say which conversations are here.")
@click.option("--deleted", "revive", is_flag=True, help="Also those that you deleted from Segue.")
@click.option("--dry-run", is_flag=True, help="Store nothing, only say what would be.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def import_command(
    application: Application,
    given: tuple[str, ...],
    discover: bool,
    revive: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Store the conversations that other programs have, such as Claude Code.

    Without arguments, those of every program that is found here. Nothing of theirs is changed. What
    was imported before is not stored again; a conversation that has grown grows here too.
    """
    from segue.cli import importing

    files, sources = importing.choose(given)
    if discover:
        return importing.discover(sources, files, as_json=as_json)
    store = application.store(creates=True)
    return importing.run(store, sources, files, dry_run=dry_run, revive=revive, as_json=as_json)


@segue.group("hook")
def hook_group() -> None:
    """Record the conversations of agents in a terminal as they happen.

    AGENT is claude-code, codex, gemini or copilot. Its settings run `segue hook AGENT` at each
    prompt and at the end of each turn.
    """


_HOOK_AGENT = click.Choice(["claude-code", "codex", "gemini", "copilot", "all"])


@hook_group.command("install")
@click.argument("agent", type=_HOOK_AGENT)
@click.pass_obj
def hook_install_command(application: Application, agent: str) -> int:
    """Add the hooks to the agent's settings; `all`: to those of every agent that is here.

    Nothing else in them changes. Settings that are not strict JSON are left as they are, and what
    to add is printed.
    """
    from segue.cli import hooks

    return hooks.install(application.store(creates=True).hook_folder, agent)


@hook_group.command("uninstall")
@click.argument("agent", type=_HOOK_AGENT)
@click.pass_obj
def hook_uninstall_command(application: Application, agent: str) -> int:
    """Remove the hooks from the agent's settings, which become what they were."""
    from segue.cli import hooks

    return hooks.uninstall(application.store(creates=True).hook_folder, agent)


@hook_group.command("status")
@click.argument("agent", type=_HOOK_AGENT, default="all")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def hook_status_command(application: Application, agent: str, as_json: bool) -> int:
    """Say whether the hooks are installed, and when the agent last ran them."""
    from segue.cli import hooks

    return hooks.status(application.store(creates=True).hook_folder, agent, as_json=as_json)


@segue.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--sizes",
    "is_sizes",
    is_flag=True,
    help="Print only how much each conversation holds, the largest first.",
)
@click.option(
    "--repair",
    "is_repair",
    is_flag=True,
    help="Quarantine a damaged database and save what can be read of it.",
)
@click.pass_obj
def doctor_command(application: Application, as_json: bool, is_sizes: bool, is_repair: bool) -> int:
    """Check the versions, the linked SQLite and the data, and list the copies of it.

    Changes nothing without --repair, but removes what a killed backup left.
    """
    from segue.cli.doctor import print_sizes, repair, run

    if is_sizes and is_repair:
        raise click.UsageError("Give either --sizes or --repair.")
    store = application.store()
    if is_sizes:
        return print_sizes(store.admin, as_json=as_json)
    return repair(store.admin) if is_repair else run(store, as_json=as_json)


@segue.command("backup")
@click.argument("path", required=False, callback=_absolute)
@click.pass_obj
def backup_command(application: Application, path: str | None) -> int:
    """Copy all sessions to PATH and verify the copy. Editors may write meanwhile.

    Without PATH, the copy is made in the folder `backups` beside the database. A session that you
    delete later stays in the copy: delete the copy too, if that matters.
    """
    from segue.cli.backup import run

    return run(application.store().admin, path)


@segue.command("restore")
@click.argument("backup", metavar="FILE", callback=_absolute)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore_command(application: Application, backup: str, yes: bool) -> int:
    """Replace all sessions by those of FILE, a copy that `segue backup` made.

    FILE is verified first. The present database is kept beside the new one. No editor window may
    have it open meanwhile.
    """
    from segue.cli.restore import run

    return run(application.store().admin, backup, is_confirmed=yes)
