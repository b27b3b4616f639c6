"""Where a PostgreSQL store is: the parts of its URL, and what they must be off this machine."""

import ipaddress
import os
from typing import Any

import attrs
import psycopg
from psycopg import conninfo

from segue.model.errors import StorageUnavailable

CONNECT_S = 4
"""How long one attempt to connect takes, in seconds."""

_VERIFIED = "verify-full"

_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates of authorities: the library's own OpenSSL looks elsewhere."""


@attrs.frozen
class Address:
    """The parameters of a connection, and how the store is named to people."""

    parameters: dict[str, Any] = attrs.field(repr=False)
    location: str
    """How a sentence begins that is about the store."""
    url: str
    """The URL without a password."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Return the address of a `postgresql://` URL.

        Raises StorageUnavailable for one that is not understood, or that would connect to another
        machine without the check of its certificate. The location has no password.
        """
        try:
            given: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
        except psycopg.Error:
            # What the library says of it may repeat the password.
            raise StorageUnavailable(
                "The address of the database is no valid postgresql:// URL. Write it as "
                "postgresql://USER@HOST/DATABASE."
            ) from None
        return cls(_completed(given), _location(given), _shown(given))


def is_local(given: dict[str, Any]) -> bool:
    """Return whether all hosts of the parameters of a connection are this machine.

    A service's file is not read: its hosts count as others.
    """
    hosts = given.get("hostaddr") or given.get("host")
    if not hosts and not given.get("service"):
        hosts = os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST")
        if not hosts:
            return "PGSERVICE" not in os.environ  # the socket of this machine
    return bool(hosts) and all(map(_is_loopback, str(hosts).split(",")))


def _is_loopback(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "connect_timeout": CONNECT_S,
        "application_name": "segue",
        **given,
        "client_encoding": "UTF8",
    }
    if is_local(given):
        return parameters
    if given.get("sslmode", _VERIFIED) != _VERIFIED:
        raise StorageUnavailable(
            f"The address of the database has sslmode={given['sslmode']}, and its host is not this "
            f"machine. Remove it, or write sslmode={_VERIFIED}: else anyone on the way can read "
            "the conversations."
        )
    parameters["sslmode"] = _VERIFIED
    if "sslrootcert" not in given and (file := _authorities()) is not None:
        parameters["sslrootcert"] = file
    return parameters


def _authorities() -> str | None:
    """Return the file of the authorities that this system trusts; None: the library's default."""
    if "PGSSLROOTCERT" in os.environ or os.path.exists(
        os.path.expanduser("~/.postgresql/root.crt")
    ):
        return None
    candidates = (os.environ.get("SSL_CERT_FILE"), *_AUTHORITIES)
    return next((each for each in candidates if each and os.path.exists(each)), None)


def _location(given: dict[str, Any]) -> str:
    if given.get("service"):
        return f"The database of the service {given['service']!r}"
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "this machine"
    name = given.get("dbname") or given.get("user") or "of the user"
    return f"The PostgreSQL database {name!r} on {host}"


def _shown(given: dict[str, Any]) -> str:
    if given.get("service"):
        return f"postgresql://?service={given['service']}"
    user = f"{given['user']}@" if given.get("user") else ""
    host = str(given.get("host") or "")
    port = f":{given['port']}" if given.get("port") else ""
    name = given.get("dbname") or ""
    if host.startswith("/"):
        return f"postgresql://{user}{port}/{name}?host={host}"
    return f"postgresql://{user}{host}{port}/{name}"
