"""Names a repository by its git configuration, alike on every machine: `github.com/org/repo`.

The name comes from the repository's own configuration alone. Files that it includes and
`url.….insteadOf` are not followed, so a host that only a person's own configuration knows, such as
an alias of ssh, is named as it is written there.
"""

import re
from collections.abc import Iterator

MAX_NAME = 500
"""How many characters a name has at most; a repository with a longer one has none."""

_REMOTE_SCHEMES = frozenset(
    ("ssh", "git", "http", "https", "ftp", "ftps", "git+ssh", "ssh+git", "git+http", "git+https")
)
_PUBLIC_HOSTS = frozenset(("github.com", "gitlab.com", "bitbucket.org", "codeberg.org"))
"""Hosts that take the path of a repository in any case."""

_OTHER_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
"""Other names of public hosts: those that serve ssh on the port of https."""

_LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1", ""))

_HEADER = re.compile(
    r'\[\s*(?P<section>[A-Za-z0-9.-]+)(?:\s+"(?P<subsection>(?:[^"\\]|\\.)*)")?\s*\]'
)
_VARIABLE = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9-]*)[ \t]*=(?P<value>.*)", re.DOTALL)
_TOKEN = re.compile(r'\\.?|["#;]|\s+|[^\\"#;\s]+', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "\\": "\\", '"': '"'}


def repository_of(config: str) -> str | None:
    """Return the name of the repository with the git configuration *config*; None if it has none.

    `segue.repository` if a person has set it, else that of the remote `origin`, else of the only
    remote. A remote that is a path of this machine gives none. Raises nothing, whatever the text.
    """
    given = None
    urls: dict[str, str] = {}
    for section, name, value in _variables(config):
        if section == "segue" and name == "repository":
            given = value
        elif section.startswith("remote.") and name == "url" and value:
            urls.setdefault(section, value)
    if given:
        return _given_name(given)
    url = urls.get("remote.origin")
    if url is None and len(urls) == 1:
        (url,) = urls.values()
    return None if url is None else name_of_url(url)


def name_of_url(url: str) -> str | None:
    """Return `host/path` of the repository at *url*, without user, password and port.

    None if it is a path of this machine, or nothing that git would fetch from another one.
    """
    scheme, separator, rest = url.strip().partition("://")
    if separator:
        if scheme.lower() not in _REMOTE_SCHEMES:
            return None
        authority, _, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
        host = _host(authority)
    else:
        # [user@]host:path, or with a port [user@host:port]:path.
        match = re.fullmatch(r"(?:\[(?P<port>[^/]*)\]|(?P<plain>[^/:\[]*)):(?P<path>.*)", scheme)
        if match is None or match["path"].startswith(":"):  # `helper::address`
            return None
        authority, path = match["port"] or match["plain"], match["path"]
        if len(authority) == 1:  # a drive of Windows
            return None
        host = _host(authority)
    return _name(host, path)


def _host(authority: str) -> str:
    """Return the host of `user:password@host:port`, in lower case."""
    address = authority.rpartition("@")[2].lower()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host = address if address.count(":") > 1 else address.partition(":")[0]
    return host.rstrip(".")


def _name(host: str, path: str) -> str | None:
    if host in _LOCAL_HOSTS:
        return None
    host = _OTHER_HOSTS.get(host, host.removeprefix("www."))
    # `github.com-work` is how people with two accounts name the host in their ssh configuration.
    host = next((each for each in _PUBLIC_HOSTS if host.startswith(f"{each}-")), host)
    parts = [part for part in path.split("/") if part]
    if parts:
        parts[-1] = re.sub(r"\.git$", "", parts[-1], flags=re.IGNORECASE)
    path = "/".join(filter(None, parts))
    if not path or {".", ".."} & set(parts):
        return None
    return _storable(f"{host}/{path.lower() if host in _PUBLIC_HOSTS else path}")


def _given_name(value: str) -> str | None:
    """Return the name that a person has set: an address, `host/path`, or any other word."""
    name = name_of_url(value)
    if name is None and ":" not in value and not value.startswith(("/", ".")):
        name = name_of_url(f"https://{value}") or _storable(value.strip().strip("/"))
    return name


def _storable(name: str) -> str | None:
    """Return *name* unless it is too long, or could have a password in it, or is no plain text."""
    is_plain = name.isprintable() and "@" not in name and "\\" not in name
    return name if name and len(name) <= MAX_NAME and is_plain else None


# -- the format of git's configuration ----------------------------------------------------------


def _variables(config: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, name and value of each variable in the sections `segue` and `remote`.

    A line that git would refuse is passed over.
    """
    section = ""
    lines = iter(config.removeprefix("\ufeff").split("\n"))
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            match = _HEADER.match(text)
            section = "" if match is None else _section(match)
            text = "" if match is None else text[match.end() :].strip()
        # Of other variables only those that go on in the next line, which may look like a section.
        if (section or text.endswith("\\")) and (match := _VARIABLE.match(text)) is not None:
            value = _value(match["value"], lines)
            if section and value is not None:
                yield section, match["name"].lower(), value


def _section(match: re.Match[str]) -> str:
    """Return `section` or `section.subsection` of a header, an empty string for other sections."""
    section, subsection = match["section"].lower(), match["subsection"]
    if subsection is not None:
        section += "." + re.sub(r"\\(.)", r"\1", subsection)
    return section if section == "segue" or section.startswith("remote.") else ""


def _value(text: str, lines: Iterator[str]) -> str | None:
    """Return a value without its quotes, escapes and comment; None if git would refuse it.

    It goes on in the next one of *lines* behind a backslash at the end of one.
    """
    pieces: list[str] = []
    is_quoted = False
    parts = _TOKEN.findall(text)[::-1]
    while parts:
        part = parts.pop()
        if part == "\\":
            parts = _TOKEN.findall(next(lines, "").rstrip("\r"))[::-1]
        elif part.startswith("\\"):
            if (escaped := _ESCAPES.get(part[1])) is None:
                return None
            pieces.append(escaped)
        elif part == '"':
            is_quoted = not is_quoted
        elif part in ("#", ";") and not is_quoted:
            break
        else:
            pieces.append(part)
    return None if is_quoted else "".join(pieces).strip()
