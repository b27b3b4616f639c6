"""What PostgreSQL's errors mean: the StorageError of an SQLSTATE, and whether to try again."""

import re

from segue.model.errors import (
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnavailable,
)

NO_FREE_CONNECTION = "53300"

_RETRIED = {"25006", NO_FREE_CONNECTION, "40001", "40P01", "55P03"}
"""Read-only, because a failover may be under way; out of connections; conflicts; a lock."""

_MESSAGES: dict[str, tuple[type[StorageError], str]] = {
    "53100": (StorageFull, "its disk is full. What was stored is kept; make room there"),
    "53400": (StorageFull, "a limit of its configuration is reached. Raise it there"),
    "25006": (
        StorageReadOnly,
        "it is read-only now. If it is a standby, put its primary into the address",
    ),
    "42501": (
        StorageReadOnly,
        "this role may not use the store. Ask its administrator to add it as a user of Segue",
    ),
    "XX001": (StorageCorrupt, "a page of it is damaged. Ask its administrator to restore a backup"),
    "XX002": (StorageCorrupt, "an index of it is damaged. Ask its administrator to rebuild it"),
    NO_FREE_CONNECTION: (
        StorageUnavailable,
        "it has no free connection. Close some editors, or raise max_connections there",
    ),
    "55P03": (StorageUnavailable, "something else keeps it locked. Try again later"),
    "57014": (StorageUnavailable, "it took too long there. Try again, or ask for less at once"),
}

NO_SCHEMA = "3F000"

_NOT_SET_UP = {NO_SCHEMA, "42883", "42P01", "42704", "3D000"}


# Of a connection that is refused the library has no SQLSTATE, only words. Those of a server that
# speaks another language are not recognized: they are told as they are, after the patience.
_NO_FREE_CONNECTION = re.compile(
    "too many clients already|too many connections for|remaining connection slots are reserved"
)
_RESTARTS = re.compile("the database system is |terminating connection")
_REFUSALS = (
    (
        re.compile("password authentication failed|no password supplied"),
        "Check the user of the address, and the password in the password file (~/.pgpass)",
    ),
    (
        re.compile('database ".*" does not exist'),
        "Check the address, or ask its administrator to create it",
    ),
    (
        re.compile(
            'role ".*" does not exist|is not permitted to log in|permission denied for database|'
            "pg_hba"
        ),
        "Ask its administrator to add this user to those of Segue, from this machine",
    ),
    (
        re.compile(
            "certificate verify failed|server certificate for|root certificate file|"
            "does not support SSL|for a verified SSL connection"
        ),
        "Check the host of the address, and that sslrootcert is the authority of its certificate",
    ),
)


class ServerError(Exception):
    """PostgreSQL refused a call: its SQLSTATE, and its message, which may quote a conversation."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(sqlstate, message)
        self.sqlstate = sqlstate

    @property
    def may_be_retried(self) -> bool:
        """Whether the same call may succeed soon, on this connection or a new one."""
        return self.sqlstate in _RETRIED or self.sqlstate.startswith(("08", "57P"))


class ConnectionLostError(Exception):
    """The connection failed, or could not be made; its message is what the library says of it."""

    @property
    def reason(self) -> str:
        """What is wrong, in the words of the library or the server."""
        # A line that is indented explains the one before.
        lines = [line for line in str(self).splitlines() if line.strip() and line[0] != "\t"]
        told = [line for line in lines if " failed: " in line] or lines
        if not told:
            return "the connection was lost"
        return re.sub(r"^[^ ]+:  ", "", told[-1].rpartition(" failed: ")[2]).strip().rstrip(".")

    @property
    def advice(self) -> str | None:
        """What to do if the server has refused the connection for good; else None."""
        return next((advice for refused, advice in _REFUSALS if refused.search(self.reason)), None)

    @property
    def may_be_retried(self) -> bool:
        """Whether a new connection may succeed soon."""
        return self.advice is None


def translate(error: ServerError | ConnectionLostError, location: str) -> StorageError:
    """Return *error* as it is told to people, in one sentence, without what they stored."""
    if isinstance(error, ConnectionLostError):
        if error.advice is not None:
            return StorageUnavailable(f"{location} cannot be used: {error.reason}. {error.advice}.")
        if _NO_FREE_CONNECTION.search(error.reason):
            return translate(ServerError(NO_FREE_CONNECTION, error.reason), location)
        if _RESTARTS.search(error.reason):
            return _is_restarted(location)
        return StorageUnavailable(
            f"{location} cannot be reached: {error.reason}. Check the network, the address and "
            "that the server runs, then try again."
        )
    if error.sqlstate in _MESSAGES:
        kind, text = _MESSAGES[error.sqlstate]
        return kind(f"{location} refused this: {text}.")
    if error.sqlstate in _NOT_SET_UP:
        return StorageUnavailable(
            f"{location} has no store of this version of Segue. Ask its administrator to run "
            "`segue postgres init` there."
        )
    if error.sqlstate.startswith(("08", "57P")):
        return _is_restarted(location)
    return StorageUnavailable(
        f"{location} failed with the error {error.sqlstate}. Its log says more."
    )


def _is_restarted(location: str) -> StorageError:
    return StorageUnavailable(f"{location} is being restarted. Try again later.")
