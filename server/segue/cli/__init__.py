"""The `segue` command; what a subcommand imports is loaded only when it runs."""

import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import click

import segue as package
from segue.cli.application import Application, CommandError, current_directory
from segue.cli.printing import OutputClosedError, prepare_output, print_error, visible

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


class _SessionId(click.ParamType[str]):
    """The id of a session, or the beginning of one, or `-`: `find_id` finds it."""

    name = "id"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from segue.cli.completion import complete_ids

        return complete_ids(ctx, incomplete)


_ID = click.argument("given", metavar="ID", type=_SessionId())
_IDS = click.argument("given", metavar="ID...", type=_SessionId(), nargs=-1, required=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NO_PAGER = click.option("--no-pager", is_flag=True, help="Print everything at once.")


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


@segue.command("acp", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def acp_command(arguments: tuple[str, ...]) -> None:
    """Run an ACP agent for an editor, and record and bring back what is said."""
    # The front door runs it, before anything of this is loaded, if it is the first word.
    raise click.UsageError("options stand behind acp: segue acp --database PATH -- COMMAND...")


@segue.command("mcp", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mcp_command(arguments: tuple[str, ...]) -> None:
    """Let an agent list, search and read earlier conversations."""
    # As `acp`: the front door runs it.
    raise click.UsageError("options stand behind mcp: segue mcp --database PATH")


@segue.command("demo")
@click.pass_obj
def demo_command(application: Application) -> int:
    """Record a conversation, kill the server, and resume it."""
    from segue.cli.demo import run

    return run(application.local_engine())


@segue.command("list")
@click.option("--all", "everywhere", is_flag=True, help="The conversations of all workspaces.")
@click.option(
    "--cwd",
    callback=_absolute,
    metavar="DIR",
    help="Those of the workspace of DIR instead of the current directory.",
)
@click.option("--archived", is_flag=True, help="Include archived conversations.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    help="Only those imported from this program; segue: recorded here. May be given again.",
)
@click.option(
    "--order",
    type=click.Choice(["updated", "prompt"]),
    default="updated",
    show_default=True,
    help="By what was newest first: the last event, or the last prompt.",
)
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@click.option("--cursor", metavar="CURSOR", help="The next page, as the one before says.")
@_NO_PAGER
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the result of session/list.")
@click.pass_obj
def list_command(
    application: Application,
    everywhere: bool,
    cwd: str | None,
    archived: bool,
    sources: tuple[str, ...],
    order: str,
    limit: int,
    cursor: str | None,
    no_pager: bool,
    as_json: bool,
) -> None:
    """List the conversations of this workspace, newest first.

    A workspace is the git repository of the current directory, with its worktrees, or the directory
    itself. A pipe gets whole ids; on a terminal they are as short as they can be.
    """
    if everywhere and cwd is not None:
        raise click.UsageError("Give either --all or --cwd.")
    from segue.cli.listing import list_sessions
    from segue.cli.sessions import run_with_service

    store = application.store()
    directory = None if everywhere else cwd or current_directory()
    run_with_service(
        store,
        lambda service: list_sessions(
            service,
            directory,
            is_named=cwd is not None,
            archived=archived,
            sources=sources or None,
            order="lastPrompt" if order == "prompt" else "updated",
            cursor=cursor,
            limit=limit,
            as_json=as_json,
            pages=not no_pager,
        ),
    )


@segue.command("search", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--all", "everywhere", is_flag=True, help="Search everywhere, not only here.")
@click.option("--archived", is_flag=True, help="Include archived sessions.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, as the result of session/search."
)
@click.pass_obj
def search_command(
    application: Application,
    words: tuple[str, ...],
    everywhere: bool,
    archived: bool,
    limit: int,
    as_json: bool,
) -> int:
    """Find what was said, in the conversations of this folder and its repository.

    All WORDS must occur in one message, one output of a tool or one title, in upper or lower case;
    parts of words are found too. A quoted phrase is one word. There is no other syntax. Exits with
    1 if nothing is found.
    """
    from segue.cli.search import search
    from segue.cli.sessions import run_with_service

    store = application.store()
    directory = None if everywhere else current_directory()
    return run_with_service(
        store,
        lambda service: search(
            service,
            words,
            directory,
            archived=archived,
            limit=limit,
            as_json=as_json,
        ),
    )


@segue.command("show")
@_ID
@_NO_PAGER
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the session and its events as JSON, as in the protocol.",
)
@click.pass_obj
def show_command(application: Application, given: str, no_pager: bool, as_json: bool) -> None:
    """Show a whole conversation."""
    from segue.cli.sessions import run_with_session, show_session

    run_with_session(
        application.store(),
        given,
        lambda service, session_id: show_session(
            service, session_id, as_json=as_json, pages=not no_pager
        ),
    )


@segue.command("export")
@click.argument("given", metavar="ID|WORDS", type=_SessionId())
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
    given: str,
    format: str,
    output: str | None,
    force: bool,
    turns: int | None,
    since: int | None,
    no_tools: bool,
) -> None:
    """Print a conversation as Markdown, JSON lines or one HTML page.

    WORDS is what was said in it, as in `segue search`, if that is in one conversation only.
    Markdown is for a pull request, the page for people without Segue; it loads and runs nothing.
    JSON lines have everything: `segue import FILE` takes them back.
    """
    if format == "jsonl" and (turns or since is not None or no_tools):
        raise click.UsageError("JSON lines have the whole conversation: leave out the selection.")
    if force and output is None:
        raise click.UsageError("--force is for --output.")
    from segue.cli.exporting import Selection, export
    from segue.cli.ids import find_id_or_said
    from segue.cli.sessions import run_with_session

    selection = Selection(turns=turns, since=since, no_tools=no_tools)
    run_with_session(
        application.store(),
        given,
        lambda service, session_id: export(
            service, session_id, format, output, selection, replaces=force
        ),
        find_id_or_said,
    )


@segue.command("fork")
@_ID
@click.option(
    "--at",
    metavar="SEQ|EVENT-ID",
    help="The last event of the fork: its number in `segue show`, or its id.",
)
@click.option("--title", callback=_title, help="Instead of `copy of …`.")
@click.option("--archive-original", is_flag=True, help="Let the fork take the original's place.")
@_JSON
@click.pass_obj
def fork_command(
    application: Application,
    given: str,
    at: str | None,
    title: str | None,
    archive_original: bool,
    as_json: bool,
) -> None:
    """Make a new conversation that begins with the events of another one.

    Prints its id and title. Each can be continued and deleted without the other. With
    --archive-original this goes back to an earlier event; `segue unarchive ID` undoes it.
    """
    from segue.cli.changes import fork
    from segue.cli.sessions import run_with_window

    run_with_window(
        application.store(),
        given,
        lambda window, session_id: fork(
            window,
            session_id,
            at=at,
            title=title,
            archive_original=archive_original,
            as_json=as_json,
        ),
    )


@segue.command("rename")
@_ID
@click.argument("title", required=False, callback=_title)
@click.option("--automatic", is_flag=True, help="Let it have its automatic title again.")
@_JSON
@click.pass_obj
def rename_command(
    application: Application, given: str, title: str | None, automatic: bool, as_json: bool
) -> None:
    """Give a conversation a title, which stays whatever is said in it.

    TITLE is one line of 1 to 200 characters. Secrets in it are masked, as in conversations.
    """
    if automatic is (title is not None):
        raise click.UsageError("Give either TITLE or --automatic.")
    from segue.cli.changes import rename
    from segue.cli.sessions import run_with_window

    run_with_window(
        application.store(),
        given,
        lambda window, session_id: rename(window, session_id, title, as_json=as_json),
    )


@segue.command("relocate")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", callback=_absolute, required=False)
@_JSON
@click.pass_obj
def relocate_command(application: Application, old: str, new: str | None, as_json: bool) -> None:
    """Say that the folder OLD was moved or renamed to NEW, with the conversations in it.

    NEW is the repository of the current directory, unless you name it. OLD must be gone. Nothing on
    disk is moved: only where the conversations were had.
    """
    from segue.cli.changes import relocate
    from segue.cli.sessions import run_with_service

    store = application.store()
    run_with_service(
        store, lambda service: relocate(store.make_window(service), old, new, as_json=as_json)
    )


@segue.command("archive")
@_IDS
@_JSON
@click.pass_obj
def archive_command(application: Application, given: tuple[str, ...], as_json: bool) -> None:
    """Put conversations aside: they are listed with --archived, and never resumed by themselves."""
    from segue.cli.changes import archive
    from segue.cli.sessions import run_with_sessions

    run_with_sessions(
        application.store(), given, lambda service, ids: archive(service, ids, as_json=as_json)
    )


@segue.command("unarchive")
@_IDS
@_JSON
@click.pass_obj
def unarchive_command(application: Application, given: tuple[str, ...], as_json: bool) -> None:
    """Bring archived conversations back."""
    from segue.cli.changes import unarchive
    from segue.cli.sessions import run_with_sessions

    run_with_sessions(
        application.store(), given, lambda service, ids: unarchive(service, ids, as_json=as_json)
    )


@segue.command("delete")
@_IDS
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and do not ask.")
@click.pass_obj
def delete_command(
    application: Application, given: tuple[str, ...], yes: bool, as_json: bool
) -> int:
    """Delete conversations for good, whether they are open in a window or not.

    Shows them and asks. Where nobody can be asked and --yes is not given, nothing is deleted.
    Events that forks have stay in the forks. `segue archive` only puts them aside.
    """
    from segue.cli.deleting import delete
    from segue.cli.sessions import run_with_sessions

    store = application.store()
    return run_with_sessions(
        store,
        given,
        lambda service, ids: delete(service, store.admin, ids, is_confirmed=yes, as_json=as_json),
    )


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
@_ID
@click.option("--print", "is_print", is_flag=True, help="Only print the command.")
@_JSON
@click.pass_obj
def resume_command(application: Application, given: str, is_print: bool, as_json: bool) -> None:
    """Go on with an imported conversation in its own program, such as `claude --resume`.

    `segue open` goes on with any in an editor. With --json the command is only printed.
    """
    from segue.cli.resume import command_of, print_command, run
    from segue.cli.sessions import run_with_session

    command, directory = run_with_session(application.store(), given, command_of)
    if is_print or as_json:
        print_command(command, directory, as_json=as_json)
    else:
        run(command, directory)


@segue.command("import")
@click.argument("given", metavar="[SOURCE|FILE]...", nargs=-1)
@click.option("--discover", is_flag=True, help="Only list the programs with conversations here.")
@click.option("--deleted", "revive", is_flag=True, help="Also those that you deleted from Segue.")
@click.option("--dry-run", is_flag=True, help="Store nothing, only say what would be.")
@_JSON
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


@segue.command("rescue")
@click.argument("given", metavar="[SOURCE|ID]...", nargs=-1)
@click.option("--write", "writes", is_flag=True, help="Write the conversations ID back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and do not ask.")
@click.pass_obj
def rescue_command(
    application: Application, given: tuple[str, ...], writes: bool, yes: bool, as_json: bool
) -> int:
    """List the conversations that Segue has and their programs have lost.

    A program deletes the file of a conversation when it is old, or cuts it. With --write it is made
    again where the program looks for it, after what it will hold was shown: today for Claude Code.
    No file that is there is changed.
    """
    if yes and not writes:
        raise click.UsageError("--yes is for --write.")
    from segue.cli.rescue import Choice, rescue
    from segue.cli.sessions import run_with_service

    choice = Choice.of(given, writes=writes)
    store = application.store()
    return run_with_service(
        store,
        lambda service: rescue(
            service,
            choice,
            store.continue_minutes,
            writes=writes,
            is_confirmed=yes,
            as_json=as_json,
        ),
    )


@segue.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and ids, with titles.

    bash: eval "$(segue completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: segue completion fish > ~/.config/fish/completions/segue.fish
    """
    from segue.cli.completion import print_script

    print_script(shell, segue)


@segue.command("watch")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
@click.pass_obj
def watch_command(application: Application, as_json: bool) -> int:
    """Import the conversations of other programs as they grow, until it is interrupted.

    First all that are here, as `segue import` does, then each soon after it was written. Also ends
    when a pipe on its standard input is closed. A second one for the same database waits.
    """
    from segue.cli import watching

    store = application.store(creates=True)
    return watching.run(store, application.run_until_interrupted, as_json=as_json)


@segue.command("sync")
@click.argument("what", type=click.Choice(["status"]), required=False)
@click.option("--watch", "watches", is_flag=True, help="Every 30 seconds, until interrupted.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--create", "creates", is_flag=True, help="Make the other store if there is none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch an object a line.")
@click.pass_obj
def sync_command(
    application: Application,
    what: str | None,
    watches: bool,
    dry_run: bool,
    creates: bool,
    as_json: bool,
) -> int:
    """Bring this machine's conversations in step with those of the setting `remote`.

    What was said, renamed, archived or deleted here gets there, and what others sent there comes
    here. If a conversation went on here and there, yours becomes a linked fork. `status` says what
    differs. Nothing is sent unless this is run.
    """
    if watches and (dry_run or what):
        raise click.UsageError("--watch goes with neither --dry-run nor status.")
    from segue.cli import syncing

    store = application.store(creates=True)
    if watches:
        run = application.run_until_interrupted
        return syncing.watch(store, run, creates=creates, as_json=as_json)
    return syncing.run(
        store, only_looks=dry_run or what is not None, creates=creates, as_json=as_json
    )


@segue.command("move")
@click.option(
    "--to",
    "target",
    required=True,
    metavar="URL|PATH",
    help="The postgresql:// URL of a store that `segue postgres` made, or the path of a file.",
)
@_JSON
@click.pass_obj
def move_command(application: Application, target: str, as_json: bool) -> int:
    """Copy all conversations to another store, and compare the two.

    Nothing is deleted or changed here. What the other store has already stays, and is not copied
    again: repeat the command if it was interrupted, or to copy what was said meanwhile. Then name
    the other store by the setting `database`.
    """
    from segue.cli import moving

    return moving.run(application.store(), target, as_json=as_json)


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
@_JSON
@click.pass_obj
def hook_status_command(application: Application, agent: str, as_json: bool) -> int:
    """Say whether the hooks are installed, and when the agent last ran them."""
    from segue.cli import hooks

    return hooks.status(application.store(creates=True).hook_folder, agent, as_json=as_json)


def _postgres_url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://")):
        raise click.BadParameter(
            "expected postgresql://USER@HOST/DATABASE, or postgresql://?service=NAME",
            context,
            parameter,
        )
    return value


def _role(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    # PostgreSQL cuts longer names without an error, and the account would be another one.
    if not value or "\0" in value or len(value.encode("utf-8", "replace")) > 63:
        raise click.BadParameter("expected a name of 1 to 63 bytes", context, parameter)
    return value


_URL = click.argument("url", callback=_postgres_url)
_ROLE = click.argument("name", callback=_role)


@segue.group("postgres")
def postgres_group() -> None:
    """Make and keep a PostgreSQL database that several people or machines share.

    URL is that of an administrator: postgresql://USER@HOST/DATABASE, or postgresql://?service=NAME.
    Its password belongs into ~/.pgpass. server/POSTGRES.md says what is promised.
    """


@postgres_group.command("init")
@_URL
@_JSON
@click.pass_obj
def postgres_init_command(application: Application, url: str, as_json: bool) -> int:
    """Make the store in the database, which is created if there is none.

    Where there is one already, its functions become those of this version, and nothing else
    changes.
    """
    from segue.cli import postgres

    return postgres.init(application.open_database, url, as_json=as_json)


@postgres_group.command("add-user")
@_URL
@_ROLE
@click.option("--existing", is_flag=True, help="There is such a role already; let it use this.")
@click.option(
    "--no-password", is_flag=True, help="The server asks for none: peer, cert, LDAP, IAM."
)
@_JSON
@click.pass_obj
def postgres_add_user_command(
    application: Application, url: str, name: str, existing: bool, no_password: bool, as_json: bool
) -> int:
    """Let a person use the store, with the role NAME, and print the setting that they need.

    Asks for the role's password, or reads it from the standard input. The server gets a verifier of
    it, and never the password. An existing role keeps the one that it has.
    """
    from segue.cli import postgres

    return postgres.add_user(
        application.open_database,
        url,
        name,
        existing=existing,
        has_password=not (no_password or existing),
        as_json=as_json,
    )


@postgres_group.command("remove-user")
@_URL
@_ROLE
@click.option("--keep-role", is_flag=True, help="Do not drop the role, which is used elsewhere.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and do not ask.")
@click.pass_obj
def postgres_remove_user_command(
    application: Application, url: str, name: str, keep_role: bool, yes: bool, as_json: bool
) -> int:
    """Delete all conversations of a user for good, and then the role.

    Ends the role's connections, says how much there is, and asks. Where nobody can be asked and
    --yes is not given, nothing is done.
    """
    from segue.cli import postgres

    return postgres.remove_user(
        application.open_database,
        url,
        name,
        keeps_role=keep_role,
        is_confirmed=yes,
        as_json=as_json,
    )


@postgres_group.command("doctor")
@_URL
@_JSON
@click.pass_obj
def postgres_doctor_command(application: Application, url: str, as_json: bool) -> int:
    """Say what is promised there: when an append is answered, and who can read what.

    Also where deleted text may still be, and which settings of the server endanger what is stored.
    Nothing is changed.
    """
    from segue.cli import postgres

    return postgres.doctor(application.open_database, url, as_json=as_json)


@postgres_group.command("vacuum")
@_URL
@click.option("--full", is_flag=True, help="Write the tables anew; nobody can use them meanwhile.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and do not ask.")
@click.pass_obj
def postgres_vacuum_command(
    application: Application, url: str, full: bool, yes: bool, as_json: bool
) -> int:
    """Remove what deletion has left in the tables.

    The space is used again; only --full leaves nothing of deleted text in the files of the tables.
    The write-ahead log, its archive, standbys and backups keep what they have.
    """
    from segue.cli import postgres

    return postgres.vacuum(
        application.open_database, url, is_full=full, is_confirmed=yes, as_json=as_json
    )


@postgres_group.command("share")
@click.argument("given", metavar="[ID]", type=_SessionId(), required=False)
@click.option("--repository", metavar="NAME", help="All of it, now and later: github.com/org/repo.")
@click.option("--with", "grantee", metavar="ROLE", callback=_role, help="A user, or a group.")
@click.option("--revoke", is_flag=True, help="No longer.")
@click.option("--list", "is_list", is_flag=True, help="Only list what you share.")
@_JSON
@click.pass_obj
def postgres_share_command(
    application: Application,
    given: str | None,
    repository: str | None,
    grantee: str | None,
    revoke: bool,
    is_list: bool,
    as_json: bool,
) -> int:
    """Let another user of the same database, or a group of them, read a conversation.

    They find it among their own, marked with your name, and with what it holds whenever they look.
    They cannot change it: who goes on with it does so in a fork, which is theirs and stays.
    """
    from segue.cli import sharing
    from segue.cli.sessions import run_with_service

    store = application.store()
    if is_list:
        if given or repository or grantee or revoke:
            raise click.UsageError("--list stands alone.")
        return run_with_service(store, lambda service: sharing.print_grants(service, as_json))
    if (given is None) is (repository is None) or grantee is None:
        raise click.UsageError("Give --with, and either ID or --repository.")
    return run_with_service(
        store,
        lambda service: sharing.share(
            service, given, repository, grantee, revoked=revoke, minutes=store.continue_minutes
        ),
    )


@segue.command("stats")
@_NO_PAGER
@_JSON
@click.pass_obj
def stats_command(application: Application, no_pager: bool, as_json: bool) -> int:
    """Say how much is stored: by program, by the month in which it began, and by workspace.

    Archived conversations count too; an event that several have counts once. BYTES is their JSON.
    """
    from segue.cli.stats import print_statistics

    return print_statistics(application.store().admin, as_json=as_json, pages=not no_pager)


@segue.command("open")
@_ID
@click.option(
    "--editor", type=click.Choice(["nvim", "code"]), help="Instead of the one that is found."
)
@click.option("--print", "is_print", is_flag=True, help="Only print the command.")
@_JSON
@click.pass_obj
def open_command(
    application: Application, given: str, editor: str | None, is_print: bool, as_json: bool
) -> None:
    """Open a conversation in the editor that is here, in its directory.

    That is VS Code in its own terminal, else the one that $VISUAL or $EDITOR names, else nvim or
    code, whichever is on the PATH. With --json the command is only printed.
    """
    from segue.cli.opening import command_of
    from segue.cli.resume import print_command, run
    from segue.cli.sessions import run_with_session

    command, directory = run_with_session(
        application.store(), given, lambda service, id: command_of(service, id, editor)
    )
    if is_print or as_json:
        print_command(command, directory, as_json=as_json)
    else:
        run(command, directory)


@segue.command("doctor")
@_JSON
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
@click.option(
    "--index",
    "is_index",
    is_flag=True,
    help="Make the index of searches anew.",
)
@click.pass_obj
def doctor_command(
    application: Application, as_json: bool, is_sizes: bool, is_repair: bool, is_index: bool
) -> int:
    """Check the versions, the linked SQLite and the data, and list the copies of it.

    Changes nothing without --repair and --index, but removes what a killed backup left.
    """
    from segue.cli.doctor import make_index, print_sizes, repair, run

    if is_sizes + is_repair + is_index > 1:
        raise click.UsageError("Give one of --sizes, --repair and --index.")
    store = application.store()
    if is_index:
        from segue.cli.sessions import run_with_service

        return run_with_service(store, make_index)
    if is_sizes:
        return print_sizes(store.admin, as_json=as_json)
    return repair(store.admin) if is_repair else run(store, as_json=as_json)


@segue.command("paths")
@_JSON
@click.pass_obj
def paths_command(application: Application, as_json: bool) -> int:
    """List what Segue has on this machine: programs, database, copies, settings, hooks.

    Nothing is changed. Uninstalling the program or the extension leaves most of it.
    """
    from segue.cli.paths import run

    return run(application.store(), as_json=as_json)


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
