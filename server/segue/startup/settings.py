"""Settings: command line before environment before `config.toml`, each checked strictly.

Nothing is read from the folder that the editor has open: a cloned repository must not choose the
database, nor anything else.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs
import platformdirs

from segue.model import validation
from segue.model.validation import InvalidInputError

APP = "segue"
MEMORY = ":memory:"
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
Redaction = Literal["mask", "off"]
REDACTIONS: tuple[str, ...] = get_args(Redaction)


class SettingsError(Exception):
    """A setting is wrong; the message says which, where it stands, and what it may be."""


@attrs.frozen(kw_only=True)
class Settings:
    """What a `segue` process goes by."""

    database: str
    continue_minutes: float = 60.0
    log: LogLevel = "warning"
    redact: Redaction = "mask"


@attrs.frozen(kw_only=True)
class _Given:
    database: str | None = None
    continue_minutes: float | None = None
    log: LogLevel | None = None
    redact: Redaction | None = None


def load_settings(
    arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings, or raise SettingsError. *arguments* are the command line's, by name."""
    given: dict[str, Any] = {}
    for layer in (_from_file(config_file()), _from_environment(environment), arguments or {}):
        given |= {name: value for name, value in layer.items() if value is not None}
    database = given.pop("database", None)
    if database is None:
        return Settings(database=str(data_directory() / "sessions.db"), **given)
    if "://" in database:
        raise SettingsError(
            f"database: {database.partition('://')[0]}:// URLs are not supported by this version; "
            "give the path of a SQLite file"
        )
    if database != MEMORY:
        # Only the command line's may be relative: the working directory is the editor's. A link
        # that the person names is meant; one in the place of the data directory is not.
        database = os.path.realpath(os.path.expanduser(database))
    return Settings(database=database, **given)


def config_file() -> Path:
    """Return where `config.toml` is looked for."""
    return platformdirs.user_config_path(APP, appauthor=False) / "config.toml"


def data_directory() -> Path:
    """Return where the database is kept unless a setting says otherwise."""
    return platformdirs.user_data_path(APP, appauthor=False)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    import tomllib  # most people have no such file

    try:
        converter = validation.make_converter(forbid_extra_keys=True)
        given = attrs.asdict(validation.structure(converter, tomllib.loads(text), _Given))
        if (database := given["database"]) is not None and not _is_rooted(database):
            given["database"] = str(path.parent / database)
        return given
    except (tomllib.TOMLDecodeError, InvalidInputError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    database = environment.get("SEGUE_DATABASE") or None
    if database is not None and not _is_rooted(database):
        raise SettingsError(f"SEGUE_DATABASE: expected an absolute path, got {database!r}")
    return {
        "database": database,
        "continue_minutes": minutes_of(
            environment.get("SEGUE_CONTINUE_MINUTES"), "SEGUE_CONTINUE_MINUTES"
        ),
        "log": _one_of(LOG_LEVELS, environment.get("SEGUE_LOG"), "SEGUE_LOG"),
        "redact": _one_of(REDACTIONS, environment.get("SEGUE_REDACT"), "SEGUE_REDACT"),
    }


def _is_rooted(database: str) -> bool:
    """Tell whether a setting means the same place whatever folder the editor has open."""
    return database == MEMORY or "://" in database or os.path.isabs(os.path.expanduser(database))


def minutes_of(text: str | None, setting: str) -> float | None:
    """Return a number of minutes, or raise SettingsError, naming the *setting*."""
    if not text:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not math.isfinite(minutes):
        raise SettingsError(f"{setting}: expected a number of minutes, got {text!r}")
    return minutes


def _one_of(words: tuple[str, ...], text: str | None, setting: str) -> str | None:
    if not text:
        return None
    if text.lower() not in words:
        raise SettingsError(f"{setting}: expected one of {', '.join(words)}")
    return text.lower()
