"""Settings: the command line overrides the environment, which overrides `config.toml`.

Each value is checked strictly. Nothing is read from the folder that the editor has open, so a
cloned repository cannot choose the database or anything else.
"""

import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import attrs

from segue.model import validation
from segue.model.validation import IntRange
from segue.startup import folders

MEMORY = ":memory:"
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
Redaction = Literal["mask", "off"]
REDACTIONS: tuple[str, ...] = get_args(Redaction)

MAX_HISTORY_CHARS = 10_000_000

_MAX_FILE_SIZE = 64 * 1024
_MAX_QUOTED = 80
_MAX_WARNINGS = 5
_HOW_TO_NAME_A_DATABASE = (
    "Set HOME to your home directory, or name the database with SEGUE_DATABASE or --database"
)


class SettingsError(Exception):
    """A setting is wrong. The message names it, its source and the values that it may have."""


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of a `segue` process."""

    database: str
    remote: str | None = None
    """The store that `segue sync` brings this one in step with."""
    continue_minutes: float = 60.0
    log: LogLevel = "warning"
    redact: Redaction = "mask"
    acp_history_chars: int = 48_000
    warnings: Sequence[str] = attrs.field(default=(), eq=False)
    """What was ignored in `config.toml`, one sentence each, to be logged."""


@attrs.frozen(kw_only=True)
class _FileSettings:
    database: str | None = None
    remote: str | None = None
    continue_minutes: float | None = None
    log: LogLevel | None = None
    redact: Redaction | None = None
    acp_history_chars: Annotated[int, IntRange(0, MAX_HISTORY_CHARS)] | None = None


def load_settings(
    arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings, or raise SettingsError.

    *arguments* are those of the command line by the names of the settings; None means not given.
    """
    from_file, warnings = _from_file(config_file())
    given: dict[str, Any] = {}
    for layer in (from_file, _from_environment(environment), arguments or {}):
        given |= {name: value for name, value in layer.items() if value is not None}
    database = given.pop("database", None)
    database = _default_database() if database is None else resolved("database", database)
    if (remote := given.get("remote")) is not None:
        given["remote"] = resolved("remote", remote)
    return Settings(database=database, warnings=warnings, **given)


def is_postgres(database: str) -> bool:
    """Return whether *database* is the URL of a PostgreSQL database."""
    return database.startswith(("postgresql://", "postgres://"))


def without_password(url: str) -> str:
    """Return a URL without a password: neither that of its user nor one in a parameter."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    user, at, host = authority.rpartition("@")
    kept = "&".join(each for each in query.split("&") if "password=" not in each)
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}{kept and f'?{kept}'}"


def config_file() -> Path | None:
    """Return the path of `config.toml`, whether it exists or not; None if there is no home."""
    folder = folders.config_folder()
    return None if folder is None else folder / "config.toml"


def _default_database() -> str:
    folder = folders.data_folder()
    if folder is None:
        raise SettingsError(
            "this user has no home directory (HOME is not set to an absolute path, and the user "
            f"database has no entry). {_HOW_TO_NAME_A_DATABASE}."
        )
    return str(folder / "sessions.db")


def resolved(setting: str, database: str) -> str:
    """Return what *database*, the value of *setting*, names, absolute; or raise SettingsError."""
    if not database or "\0" in database or (database == MEMORY and setting != "database"):
        raise SettingsError(f"{setting}: expected the path of a file, got {_quoted(database)}")
    if is_postgres(database):
        return database
    if "://" in database:
        scheme = _quoted(database.partition("://")[0])  # the rest may hold a password
        raise SettingsError(
            f"{setting}: URLs of the scheme {scheme} are not supported by this version. Give the "
            "path of a SQLite file, or a postgresql:// URL"
        )
    if database == MEMORY:
        return database
    # Only on the command line may it be relative: the working directory is the editor's. A symlink
    # that the user names is followed; one in place of the data directory is not.
    path = folders.expand_home(database)
    if path.startswith("~"):
        raise SettingsError(
            f"{setting}: the home directory in {_quoted(database)} is not known. Give an absolute "
            "path"
        )
    try:
        return os.path.realpath(path)
    except OSError:
        raise SettingsError(
            f"{setting}: {_quoted(database)} is relative to a folder that was removed. Give an "
            "absolute path"
        ) from None


def _from_file(path: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the file, and a warning for each key that is not one."""
    if path is None:
        return {}, []
    try:
        content = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}, []
    except OSError as error:
        if not _is_reachable(path):  # so it is not known to exist; another user's HOME, for example
            return {}, [f"{path} cannot be reached ({error.strerror}); its settings do not count"]
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    import tomllib  # only here: most users have no such file

    try:
        values = tomllib.loads(content)
        known = attrs.fields_dict(_FileSettings)
        warnings = [
            f"{path}: the key {_quoted(key)} is not known to this version and was ignored; known "
            f"are {', '.join(known)}"
            for key in values
            if key not in known
        ][:_MAX_WARNINGS]
        values = {key: value for key, value in values.items() if key in known}
        converter = validation.make_converter(forbid_extra_keys=True)
        given = attrs.asdict(validation.structure(converter, values, _FileSettings))
    except RecursionError:
        raise SettingsError(f"{path}: its values are nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{path}: {error}") from None
    for setting in ("database", "remote"):
        if (database := given[setting]) is not None:
            if not database or "\0" in database:
                raise SettingsError(
                    f"{path}: {setting}: expected the path of a file, got {_quoted(database)}"
                )
            if is_postgres(database) and without_password(database) != database:
                raise SettingsError(
                    f"{path}: {setting}: a password does not belong into this file. Remove it from "
                    "the URL and put it into ~/.pgpass, or name a service: "
                    "postgresql://?service=NAME"
                )
            if not _is_rooted(database):
                given[setting] = str(path.parent / database)
    return given, warnings


def _read(path: Path) -> str:
    """Return the text of a settings file; raise SettingsError, or OSError if it cannot be read."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise SettingsError(f"{path} is not a file")
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_SIZE + 1)
    if len(content) > _MAX_FILE_SIZE:
        raise SettingsError(f"{path} is larger than {_MAX_FILE_SIZE // 1024} KiB")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SettingsError(f"{path} is not UTF-8 text. Save it as UTF-8")
    return text.replace("\r\n", "\n")


def _is_reachable(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "database": _rooted(environment.get("SEGUE_DATABASE"), "SEGUE_DATABASE"),
        "remote": _rooted(environment.get("SEGUE_REMOTE"), "SEGUE_REMOTE"),
        "continue_minutes": parse_minutes(
            environment.get("SEGUE_CONTINUE_MINUTES"), "SEGUE_CONTINUE_MINUTES"
        ),
        "log": _one_of(LOG_LEVELS, environment.get("SEGUE_LOG"), "SEGUE_LOG"),
        "acp_history_chars": parse_history_chars(
            environment.get("SEGUE_ACP_HISTORY_CHARS"), "SEGUE_ACP_HISTORY_CHARS"
        ),
        "redact": _one_of(REDACTIONS, environment.get("SEGUE_REDACT"), "SEGUE_REDACT"),
    }


def _rooted(database: str | None, setting: str) -> str | None:
    if database is None or not database.strip():
        return None
    if not _is_rooted(database):
        raise SettingsError(f"{setting}: expected an absolute path, got {_quoted(database)}")
    return database


def _is_rooted(database: str) -> bool:
    """Return whether *database* is the same store whatever the working directory is."""
    return database == MEMORY or "://" in database or os.path.isabs(database) or database[0] == "~"


def parse_minutes(value: str | None, setting: str) -> float | None:
    """Return *value* as a finite number, None if it is empty; or raise SettingsError."""
    if value is None or not value.strip():
        return None
    try:
        minutes = float(value)
    except ValueError:
        minutes = math.nan
    if not math.isfinite(minutes):
        raise SettingsError(f"{setting}: expected a number of minutes, got {_quoted(value)}")
    return minutes


def parse_history_chars(value: str | None, setting: str) -> int | None:
    """Return *value* as a number of characters, None if it is empty; or raise SettingsError."""
    if value is None or not value.strip():
        return None
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and int(digits[:9]) <= MAX_HISTORY_CHARS):
        raise SettingsError(
            f"{setting}: expected a number of characters from 0 to {MAX_HISTORY_CHARS:,}, got "
            f"{_quoted(value)}"
        )
    return int(digits)


def _one_of(choices: tuple[str, ...], value: str | None, setting: str) -> str | None:
    word = (value or "").strip().lower()
    if word and word not in choices:
        expected = ", ".join(choices)
        raise SettingsError(f"{setting}: expected one of {expected}, got {_quoted(value or '')}")
    return word or None


def _quoted(value: str) -> str:
    """Return *value* for a message: on one line, and no longer than one."""
    return repr(value if len(value) <= _MAX_QUOTED else f"{value[:_MAX_QUOTED]}…")
