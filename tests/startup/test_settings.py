import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.startup.folders import data_folder
from segue.startup.settings import (
    Settings,
    SettingsError,
    config_file,
    load_settings,
    without_password,
)


def default_database() -> str:
    folder = data_folder()
    assert folder is not None
    return str(folder / "sessions.db")


@pytest.fixture
def config() -> Path:
    path = config_file()
    assert path is not None
    path.parent.mkdir(parents=True)
    return path


def test_the_default_database_is_in_the_data_directory() -> None:
    assert load_settings(environment={}) == Settings(
        database=default_database(),
        continue_minutes=60,
        log="warning",
        redact="mask",
    )


def test_the_command_line_overrides_the_environment_which_overrides_the_file(
    config: Path,
) -> None:
    content = 'database = "/file.db"\ncontinue_minutes = 1\nlog = "error"\nredact = "off"\n'
    config.write_text(content)
    assert load_settings(environment={}) == Settings(
        database="/file.db", continue_minutes=1, log="error", redact="off"
    )
    environment = {
        "SEGUE_DATABASE": "/environment.db",
        "SEGUE_CONTINUE_MINUTES": "2.5",
        "SEGUE_LOG": "DEBUG",
        "SEGUE_REDACT": "Mask",
    }
    assert load_settings(environment=environment) == Settings(
        database="/environment.db", continue_minutes=2.5, log="debug", redact="mask"
    )
    arguments = {"database": "/given.db", "continue_minutes": 0.0, "log": "info", "redact": "off"}
    assert load_settings(arguments, environment) == Settings(
        database="/given.db", continue_minutes=0, log="info", redact="off"
    )


def test_a_setting_that_a_source_omits_comes_from_the_next_source(config: Path) -> None:
    config.write_text("continue_minutes = 5")
    settings = load_settings({"database": None, "log": None}, {"SEGUE_DATABASE": "/environment.db"})
    assert settings == Settings(database="/environment.db", continue_minutes=5, log="warning")
    assert load_settings({}, {"SEGUE_CONTINUE_MINUTES": ""}).continue_minutes == 5


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("continue_minutes = '5'", "continue_minutes"),
        ("continue_minutes = true", "continue_minutes"),
        ("continue_minutes = inf", "continue_minutes"),
        ("database = 5", "database"),
        ("log = 'loud'", "log"),
        ("redact = 'on'", "redact"),
        ("redact = false", "redact"),
        ("[log]\nlevel = 'info'", "log"),
        ("database.path = '/x'", "database"),
        ("database = ''", "database"),
        ('database = "a\\u0000b"', "database"),
        ("continue_minutes = 1" + "0" * 5_000, "config.toml"),
        ("log = " + "[" * 20_000, "config.toml"),
        ("not toml", "config.toml"),
    ],
)
def test_a_wrong_setting_in_the_file_is_named(config: Path, content: str, named: str) -> None:
    config.write_text(content)
    with pytest.raises(SettingsError, match=named) as error:
        load_settings(environment={})
    assert str(config) in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "is not UTF-8 text"),
        ("log = 'info'".encode("utf-16"), "is not UTF-8 text"),
        ("log = 'info'".encode("utf-16-le"), "is not UTF-8 text"),
        (b"#" * 100_000, "is larger than 64 KiB"),
    ],
)
def test_a_file_that_is_no_settings_file_is_described(
    config: Path, content: bytes, words: str
) -> None:
    config.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"config\.toml {words}"):
        load_settings(environment={})


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_its_place_is_described(
    config: Path, make: Callable[[Path], None]
) -> None:
    make(config)
    with pytest.raises(SettingsError, match=r"config\.toml is not a file"):
        load_settings(environment={})


@pytest.mark.parametrize("content", [b"\xef\xbb\xbflog = 'info'\n", b"# \r\nlog = 'info'\r\n"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_read(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    assert load_settings(environment={}).log == "info"


@pytest.mark.parametrize("content", ["databse = '/x'", "[databse]\nlog = 'info'"])
def test_an_unknown_key_is_a_warning(config: Path, content: str) -> None:
    """One file serves several versions: a later one may know the key."""
    config.write_text(f"log = 'error'\n{content}")
    settings = load_settings(environment={})
    assert settings.log == "error"
    (warning,) = settings.warnings
    assert warning == (
        f"{config}: the key 'databse' is not known to this version and was ignored; known are "
        "database, remote, continue_minutes, log, redact, acp_history_chars"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEGUE_CONTINUE_MINUTES", "soon"),
        ("SEGUE_CONTINUE_MINUTES", "nan"),
        ("SEGUE_CONTINUE_MINUTES", "inf"),
        ("SEGUE_LOG", "loud"),
        ("SEGUE_REDACT", "no"),
        ("SEGUE_DATABASE", " /leading/space.db"),
        ("SEGUE_LOG", "loud" * 100_000),
    ],
)
def test_a_wrong_setting_in_the_environment_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        load_settings(environment={name: value})
    assert len(str(error.value)) < 200


def test_blanks_around_a_value_in_the_environment_do_not_count() -> None:
    names = ("SEGUE_CONTINUE_MINUTES", "SEGUE_LOG", "SEGUE_REDACT", "SEGUE_DATABASE")
    given = dict(zip(names, (" 5 ", " Debug\n", "off\t", " "), strict=True))
    assert load_settings(environment=given) == Settings(
        database=default_database(), continue_minutes=5, log="debug", redact="off"
    )
    assert load_settings(environment=dict.fromkeys(names, "")) == load_settings(environment={})


@pytest.mark.parametrize("database", ["postgres+ssl://user:secret@host/db", "mysql://host"])
def test_a_url_is_refused_without_repeating_its_password(database: str) -> None:
    with pytest.raises(SettingsError, match="URLs of the scheme") as error:
        load_settings(environment={"SEGUE_DATABASE": database})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_may_be_the_url_of_a_postgresql_database(config: Path, scheme: str) -> None:
    url = f"{scheme}://anna@db.example:5433/segue?sslrootcert=/ca.crt"
    assert load_settings({"database": url}, {}).database == url
    assert load_settings({}, {"SEGUE_DATABASE": url}).database == url
    config.write_text(f"database = '{url}'\n")
    assert load_settings(environment={}).database == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:secret@host/db",
        "postgresql://anna:se@cret@host",
        "postgresql://host/db?password=secret",
        "postgresql://host/db?a=1&sslpassword=secret",
    ],
)
def test_a_password_in_the_settings_file_is_refused(config: Path, url: str) -> None:
    config.write_text(f"database = '{url}'\n")
    with pytest.raises(SettingsError, match=r"\.pgpass") as error:
        load_settings(environment={})
    assert "secret" not in str(error.value)
    assert "cret" not in without_password(url)
    config.unlink()
    assert load_settings({"database": url}, {}).database == url


def test_a_url_without_a_password_stays_as_it_is() -> None:
    for url in ("postgresql://", "postgresql://?service=team", "postgresql://a@[::1]:5/db?x=1&y=2"):
        assert without_password(url) == url


def test_a_path_is_made_absolute_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert load_settings({"database": "a.db"}, {}).database == str(tmp_path / "a.db")
    assert load_settings({"database": "~/a.db"}, {}).database == "/home/someone/a.db"
    assert load_settings({"database": ":memory:"}, {}).database == ":memory:"


def test_nothing_is_read_from_the_working_directory(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.toml", "segue.toml", ".segue.toml", "pyproject.toml", ".env"):
        (repository / name).write_text('database = "/evil.db"\nSEGUE_DATABASE="/evil.db"\n')
    monkeypatch.chdir(repository)
    assert load_settings(environment={}).database == default_database()


def test_a_path_in_the_settings_file_is_relative_to_that_file(config: Path) -> None:
    """If it were relative to the working directory, a cloned repository could choose it."""
    config.write_text('database = "sessions.db"\n')
    assert load_settings(environment={}).database == str(config.parent / "sessions.db")


def test_a_relative_path_in_the_environment_is_refused() -> None:
    with pytest.raises(SettingsError, match="SEGUE_DATABASE: expected an absolute path"):
        load_settings(environment={"SEGUE_DATABASE": "sessions.db"})


@pytest.mark.parametrize("path", ["/data//sessions.db", "/data/./sessions.db", "~/sessions.db"])
def test_an_absolute_path_is_normalized(path: str) -> None:
    expected = os.path.abspath(os.path.expanduser(path))
    assert load_settings(environment={"SEGUE_DATABASE": path}).database == expected


def test_a_remote_is_named_as_a_database_is(config: Path) -> None:
    assert load_settings({}, {}).remote is None
    config.write_text("remote = 'stick/segue.db'")
    assert load_settings({}, {}).remote == str(config.parent / "stick/segue.db")
    assert load_settings({}, {"SEGUE_REMOTE": "/media/r.db"}).remote == "/media/r.db"
    url = "postgresql://anna@host/segue"
    assert load_settings({}, {"SEGUE_REMOTE": url}).remote == url
    config.write_text("remote = 'postgresql://anna:secret@host/segue'")
    with pytest.raises(SettingsError, match="remote: a password does not belong"):
        load_settings({}, {})
    config.write_text("")
    for wrong in ("r.db", ":memory:", "ftp://host/r.db"):
        with pytest.raises(SettingsError, match=r"(?i)remote"):
            load_settings({}, {"SEGUE_REMOTE": wrong})
