"""The administration of a database that several people share, as the commands use it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from segue.model.database_reports import (
    AddedUser,
    DatabaseReport,
    DatabaseSetupError,
    Installation,
    UserContents,
    VacuumReport,
)
from segue.model.store_reports import Finding
from segue.store.postgres import inspection, setup, vacuuming
from segue.store.postgres.address import Address
from segue.store.postgres.errors import ConnectionLostError, translate

_NO_RIGHT = "42501"
_EXISTS = "42710"

_ADVICE = {
    _NO_RIGHT: "Connect as a superuser, or as the role that ran `segue postgres init`",
    "2BP01": "Remove what the role owns or was granted elsewhere, or add --keep-role",
    "55006": "Try again",
    "55P03": "Something else keeps it locked; try again",
    "42P01": "Run `segue postgres init`",
    "42704": "Run `segue postgres init`",
    "3F000": "Run `segue postgres init`",
}


class PostgresDatabase:
    """The database of a `postgresql://` URL. Each call connects, and may take as long as it takes.

    The calls raise DatabaseSetupError, or StorageUnavailable if the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Raise StorageUnavailable if the URL is not understood."""
        self._url = url
        self._address = Address.parse(url)

    def install(self) -> tuple[Installation, Sequence[Finding]]:
        """Create the database, if there is none, and the store, or bring its functions up to date.

        Also returns what is to be said of the server's settings.
        """
        with self._translated():
            created = self._create_database()
            outcome = setup.create_store(self._url)
            with setup.connect(self._url) as connection:
                installation = Installation(
                    database=connection.info.dbname,
                    is_new_database=created is not None,
                    store=outcome,
                )
                return installation, inspection.server_findings(connection)

    def add_user(self, name: str, password: str | None, *, existing: bool) -> AddedUser:
        """Let the role *name* use the store; it is created unless it is an *existing* one."""
        with self._translated():
            setup.add_user(self._url, name, password, existing=existing)
        return AddedUser(name=name, url=self._url_of(name))

    def contents_of(self, name: str) -> UserContents:
        """Return what the user *name* has in the store."""
        with self._translated():
            return setup.contents_of(self._url, name)

    def remove_user(self, name: str, *, keeps_role: bool) -> None:
        """Delete all that the user *name* has, and then the role, unless it *keeps_role*."""
        with self._translated():
            setup.remove_user(self._url, name, keeps_role=keeps_role)

    def report(self) -> DatabaseReport:
        """Return the state of the store and of its server; nothing is changed."""
        with self._translated(), setup.connect(self._url) as connection:
            return inspection.inspect(connection, self._address.location)

    def vacuum(self, *, is_full: bool) -> VacuumReport:
        """Remove dead rows from the tables, which are written anew and locked if *is_full*."""
        with self._translated(), setup.connect(self._url) as connection:
            return vacuuming.vacuum(connection, is_full=is_full)

    def _create_database(self) -> str | None:
        try:
            setup.connect(self._url).close()
        except psycopg.OperationalError as error:
            # Which of its reasons it was, the library says only in the server's language.
            try:
                created = setup.create_database(self._url)
            except psycopg.OperationalError:
                created = None
            if created is None:
                raise error from None
            return created
        return None

    def _url_of(self, name: str) -> str:
        """Return the URL of the database for another role, without what is the administrator's."""
        given = self._address.parameters
        rest: dict[str, Any] = {
            key: given[key]
            for key in ("port", "hostaddr", "service", "target_session_attrs")
            if key in given
        }
        host = str(given.get("host", ""))
        database = quote(str(given.get("dbname", "")), safe="")
        user = quote(name, safe="")
        if host.startswith(("/", "@")) or "," in host:
            return f"postgresql://{user}@/{database}?{urlencode({'host': host, **rest}, safe='/,')}"
        port = f":{rest.pop('port')}" if "port" in rest else ""
        query = f"?{urlencode(rest, safe='/')}" if rest else ""
        return f"postgresql://{user}@{host}{port}/{database}{query}"

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        location = self._address.location
        try:
            yield
        except DatabaseSetupError as error:
            raise DatabaseSetupError(f"Nothing was changed: {error}.") from None
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise translate(ConnectionLostError(str(error)), location) from None
            if error.sqlstate == _EXISTS:
                raise DatabaseSetupError(
                    f"Nothing was changed: {error.diag.message_primary}. If it is that person's, "
                    "add --existing."
                ) from None
            advice = _ADVICE.get(error.sqlstate, "The server's log may say more")
            raise DatabaseSetupError(
                f"{location} refused this: {error.diag.message_primary}. {advice}."
            ) from None
