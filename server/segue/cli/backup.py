"""`segue backup`: a verified copy of every session."""

from segue.cli.application import CommandError
from segue.cli.printing import print_line
from segue.model.errors import StorageError
from segue.store.service import StoreAdmin


def run(admin: StoreAdmin, path: str | None) -> int:
    """Make the copy and print its path and contents; return 0, or raise CommandError."""
    try:
        backup = admin.back_up(path)
    except StorageError as error:
        raise CommandError(str(error)) from None
    print_line(backup.path)
    print_line(
        f"{backup.sessions} sessions, {backup.events} events, {backup.size:,} bytes; verified"
    )
    return 0
