"""Reads what clients give as a folder: a file: URI or an absolute path."""

import os
import re
import urllib.parse

from segue.model.workspace import MAX_PATH, InvalidWorkspaceError, shown

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive of Windows
_MAX_GIVEN = len("file://localhost") + 3 * MAX_PATH
"""The longest URI, with every byte of its path encoded as %XX."""


def path_of(given: str) -> str:
    """Return the path that a file: URI or a path names. Nothing is looked at.

    The path of a URI is the percent-encoded bytes of the file system. A raw `?` or `#` belongs to
    it: a folder has no query, and clients that do not encode them mean the folder's name. Raises
    InvalidWorkspaceError for other URIs, other machines and relative paths.
    """
    if len(given) > _MAX_GIVEN:
        raise InvalidWorkspaceError(f"a path may have at most {MAX_PATH:,} bytes")
    if os.path.isabs(given):
        return given
    if given[:5].lower() != "file:":
        if _SCHEME.match(given):
            raise InvalidWorkspaceError(f"{shown(given)} is not a folder of this machine")
        fault = f'expected an absolute path or a file: URI, not "{shown(given)}"'
        raise InvalidWorkspaceError(fault)
    host, path = "", given[5:]
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
    try:
        path = urllib.parse.unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    except UnicodeError:
        raise InvalidWorkspaceError(f"{shown(given)} is not valid Unicode") from None
    if host and host.lower() not in ("localhost", _host_name()):
        if os.name != "nt":
            raise InvalidWorkspaceError(f"{shown(given)} is a folder of another machine")
        path = f"//{host}{path}"
    elif os.name == "nt":
        path = path.removeprefix("/")
    if not os.path.isabs(path):
        raise InvalidWorkspaceError(f"{shown(given)} has no absolute path")
    return os.path.normpath(path)


def _host_name() -> str | None:
    """Return the name of this machine, which terminals put into file: URIs."""
    return None if os.name == "nt" else os.uname().nodename.lower()
