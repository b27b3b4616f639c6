"""`segue postgres`: makes a database that several people share, and keeps it."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
import click

from segue.cli.application import CommandError, SharedDatabase
from segue.cli.printing import (
    Column,
    print_error,
    print_json,
    print_line,
    print_table,
)
from segue.model.database_reports import DatabaseReport, UserContents, VacuumReport
from segue.model.errors import SegueError
from segue.model.store_reports import Finding

T = TypeVar("T")

Open = Callable[[str], SharedDatabase]

_STORES = {
    "created": "Made the store in the database {}.",
    "updated": "The store in the database {} has the functions of this version now.",
    "unchanged": "The database {} has the store already, of this version. Nothing was changed.",
}

_LEFT_ELSEWHERE = (
    "The write-ahead log, its archive, standbys and backups keep what they have: `segue postgres "
    "doctor` lists them."
)


def init(open_database: Open, url: str, *, as_json: bool) -> int:
    """Make the store, print what was done and what to say of the server, and return 0."""
    database = _open(open_database, url)
    installation, findings = _run(database.install)
    if as_json:
        print_json({**attrs.asdict(installation), **_findings_as_json(findings)})
        return 0
    if installation.is_new_database:
        print_line(f"Created the database {installation.database}.")
    print_line(_STORES[installation.store].format(installation.database))
    _print_findings(findings)
    print_line("Next, for each person: segue postgres add-user URL NAME")
    return 0


def add_user(
    open_database: Open,
    url: str,
    name: str,
    *,
    existing: bool,
    has_password: bool,
    as_json: bool,
) -> int:
    """Let a role use the store, print the setting that its owner needs, and return 0.

    Raises CommandError if the role needs a password and none is given.
    """
    database = _open(open_database, url)
    password = _password(name) if has_password else None
    added = _run(lambda: database.add_user(name, password, existing=existing))
    if as_json:
        print_json(attrs.asdict(added))
        return 0
    print_line(f"{name} may use the store. On each of their machines:")
    print_line(f"    export SEGUE_DATABASE='{added.url}'")
    if password is not None:
        print_line("The password belongs into ~/.pgpass there (mode 0600), not into the URL.")
    return 0


def remove_user(
    open_database: Open,
    url: str,
    name: str,
    *,
    keeps_role: bool,
    is_confirmed: bool,
    as_json: bool,
) -> int:
    """Delete what a user has and the role, after it was shown and confirmed; return the exit code.

    Returns 1 if nothing was done.
    """
    database = _open(open_database, url)
    contents = _run(lambda: database.contents_of(name))
    drops = contents.has_role and not keeps_role
    if not as_json:
        print_line(f"{name} has {_amount(contents)}.")
    question = "Delete them and the role for good?" if drops else "Delete them for good?"
    if not _is_agreed(question, is_confirmed=is_confirmed, as_json=as_json):
        return 1
    _run(lambda: database.remove_user(name, keeps_role=keeps_role))
    if as_json:
        print_json({**attrs.asdict(contents), "role_dropped": drops})
        return 0
    print_line(f"Deleted: {_amount(contents)}{' and the role' if drops else ''}.")
    if contents.sessions:
        print_line(
            "Their text stays in the tables' files until `segue postgres vacuum --full`. "
            f"{_LEFT_ELSEWHERE}"
        )
    return 0


def doctor(open_database: Open, url: str, *, as_json: bool) -> int:
    """Print the state of the store; return 1 if there is a problem, else 0."""
    database = _open(open_database, url)
    report = _run(database.report)
    if as_json:
        print_json(_report_as_json(report))
    else:
        _print_report(report)
    return 1 if any(each.is_problem for each in report.findings) else 0


def vacuum(
    open_database: Open, url: str, *, is_full: bool, is_confirmed: bool, as_json: bool
) -> int:
    """Vacuum the tables and print what that has done; return 1 if it was not agreed to, else 0."""
    database = _open(open_database, url)
    question = "Everybody waits while the tables are written anew. Do it now?"
    if is_full and not _is_agreed(question, is_confirmed=is_confirmed, as_json=as_json):
        return 1
    report = _run(lambda: database.vacuum(is_full=is_full))
    if as_json:
        print_json(attrs.asdict(report))
    else:
        _print_vacuum(report)
    return 0


def _open(open_database: Open, url: str) -> SharedDatabase:
    try:
        has_password = urlsplit(url).password is not None or "password=" in url
    except ValueError:
        has_password = False
    if has_password:
        print_error(
            "Warning: the URL holds a password, which others on this machine can see in the list "
            "of processes. Put it into ~/.pgpass."
        )
    return open_database(url)


def _run(work: Callable[[], T]) -> T:
    try:
        return work()
    except SegueError as error:
        raise CommandError(str(error)) from None


def _password(name: str) -> str:
    """Ask for a password at a terminal, or read the line of it."""
    if sys.stdin is not None and sys.stdin.isatty():
        return str(
            click.prompt(
                f"Password for {name}", hide_input=True, confirmation_prompt="Again", err=True
            )
        )
    password = "" if sys.stdin is None else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError(
            "Nothing was changed: there is no password on the standard input. Give it there, or "
            "add --no-password if the server asks for none."
        )
    return password


def _is_agreed(question: str, *, is_confirmed: bool, as_json: bool) -> bool:
    if is_confirmed:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print_error("Nothing was done: nobody can be asked here; add --yes.")
        return False
    if click.confirm(question):
        return True
    print_line("Nothing was done.")
    return False


def _amount(contents: UserContents) -> str:
    plural = "" if contents.sessions == 1 else "s"
    return f"{contents.sessions:,} conversation{plural} ({contents.events:,} events)"


def _print_report(report: DatabaseReport) -> None:
    _line("database", report.location)
    _line("server", f"PostgreSQL {report.version}")
    if report.bytes is not None:
        _line("store", f"{report.bytes:,} bytes, {report.users:,} users")
    _line("answered", f"what was answered is {report.answered}")
    for each in report.deleted:
        _line("deleted", f"text stays {each}")
    _line("private", "each user sees the conversations of their own account, whatever they send")
    for role in dict.fromkeys(reader.role for reader in report.readers):
        rights = [reader.right for reader in report.readers if reader.role == role]
        _line("reads all", f"{role} ({'; '.join(rights)})")
    _print_findings(report.findings)
    if not any(each.is_problem for each in report.findings):
        print_line("all is well", color="green")


def _print_findings(findings: Iterable[Finding]) -> None:
    for each in findings:
        color = "red" if each.is_problem else None
        _line("problem" if each.is_problem else "note", each.what, color=color)
        if each.remedy:
            _line("", each.remedy)


def _line(name: str, value: str, color: str | None = None) -> None:
    print_line(f"{name:<9}", value, color=color)


def _findings_as_json(findings: Iterable[Finding]) -> dict[str, list[str]]:
    each = list(findings)
    return {
        "problems": [str(one) for one in each if one.is_problem],
        "notes": [str(one) for one in each if not one.is_problem],
    }


def _report_as_json(report: DatabaseReport) -> dict[str, Any]:
    values = attrs.asdict(report, filter=lambda attribute, _: attribute.name != "findings")
    return {**values, **_findings_as_json(report.findings)}


def _print_vacuum(report: VacuumReport) -> None:
    columns = (
        Column("TABLE"),
        Column("BYTES", is_number=True),
        Column("BEFORE", is_number=True),
        Column("DEAD ROWS", is_number=True),
        Column("DEAD BEFORE", is_number=True),
    )
    rows = (
        (
            each.name,
            f"{each.bytes_after:,}",
            f"{each.bytes_before:,}",
            f"{each.dead_after:,}",
            f"{each.dead_before:,}",
        )
        for each in report.tables
    )
    print_table(columns, rows)
    if any(each.dead_after for each in report.tables):
        print_line(
            "Dead rows are left: an open transaction, or a standby, may still read them. Try again "
            "later."
        )
    if not report.is_full:
        print_line(
            "Parts of deleted text may be left in the free space of pages; --full removes them."
        )
    print_line(_LEFT_ELSEWHERE)
