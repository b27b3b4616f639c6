"""Settings: the command line overrides the environment, which overrides `config.toml`.

Each value is checked strictly. Nothing is read from the folder that the editor has open, so a
cloned repository cannot choose the database or anything else.
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
    """A setting is wrong. The message names it, its source and the values that it may have."""


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of a `segue` process."""

    database: str
    continue_minutes: float = 60.0
    log: LogLevel = "warning"
    redact: Redaction = "mask"


@attrs.frozen(kw_only=True)
class _FileSettings:
    database: str | None = None
    continue_minutes: float | None = None
    log: LogLevel | None = None
    redact: Redaction | None = None


def load_settings(
    arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings, or raise SettingsError.

    *arguments* are those of the command line by the names of the settings; None means not given.
    """
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
        # Only on the command line may it be relative: the working directory is the editor's. A
        # symlink that the user names is followed; one in place of the data directory is not.
        database = os.path.realpath(os.path.expanduser(database))
    return Settings(database=database, **given)


def config_file() -> Path:
    """Return the path of `config.toml`, whether it exists or not."""
    return platformdirs.user_config_path(APP, appauthor=False) / "config.toml"


def data_directory() -> Path:
    """Return the directory of the database if no setting names another."""
    return platformdirs.user_data_path(APP, appauthor=False)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    import tomllib  # only here: most users have no such file

    try:
        converter = validation.make_converter(forbid_extra_keys=True)
        given = attrs.asdict(validation.structure(converter, tomllib.loads(content), _FileSettings))
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
        "continue_minutes": parse_minutes(
            environment.get("SEGUE_CONTINUE_MINUTES"), "SEGUE_CONTINUE_MINUTES"
        ),
        "log": _one_of(LOG_LEVELS, environment.get("SEGUE_LOG"), "SEGUE_LOG"),
        "redact": _one_of(REDACTIONS, environment.get("SEGUE_REDACT"), "SEGUE_REDACT"),
    }


def _is_rooted(database: str) -> bool:
    """Return whether *database* is the same store whatever the working directory is."""
    return database == MEMORY or "://" in database or os.path.isabs(os.path.expanduser(database))


def parse_minutes(value: str | None, setting: str) -> float | None:
    """Return *value* as a finite number, None if it is empty; or raise SettingsError."""
    if not value:
        return None
    try:
        minutes = float(value)
    except ValueError:
        minutes = math.nan
    if not math.isfinite(minutes):
        raise SettingsError(f"{setting}: expected a number of minutes, got {value!r}")
    return minutes


def _one_of(choices: tuple[str, ...], value: str | None, setting: str) -> str | None:
    if not value:
        return None
    if value.lower() not in choices:
        raise SettingsError(f"{setting}: expected one of {', '.join(choices)}")
    return value.lower()
