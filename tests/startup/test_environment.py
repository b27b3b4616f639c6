"""What the environment of an editor, or of a shell, can and cannot change. Real processes only."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client

SEGUE = Path(sys.executable).with_name("segue")
UNKNOWN_USER = ("unshare", "--user", "--map-user=54321", "--map-group=54321")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the environment of POSIX"),
    pytest.mark.skipif(not SEGUE.exists(), reason="Segue is not installed beside this Python"),
]


def run(
    environment: Mapping[str, str],
    *arguments: str,
    before: Sequence[str | Path] = (),
    program: str | Path = SEGUE,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run `segue` with exactly *environment*."""
    defaults: dict[str, Any] = {
        "capture_output": True,
        "text": True,
        "errors": "replace",
        "cwd": "/",
    }
    command = [*before, program, *arguments]
    return subprocess.run(command, env=environment, timeout=60, check=False, **defaults | options)


def serve(
    environment: Mapping[str, str],
    *requests: tuple[str, Any],
    arguments: Sequence[str] = (),
    **options: Any,
) -> list[Any]:
    """Start a server, send it `initialize` and *requests*, and return all responses in order."""
    params: Any = {"processId": None, "rootUri": None, "capabilities": {}}
    frames = b""
    for number, (method, given) in enumerate([("initialize", params), *requests]):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": given}
        body = json.dumps(message).encode()
        frames += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    done = run(environment, "lsp", *arguments, input=frames, text=False, errors=None, **options)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    bodies = [part.split(b"Content-Length:")[0] for part in done.stdout.split(b"\r\n\r\n")[1:]]
    answers = sorted(map(json.loads, bodies), key=lambda answer: answer["id"])
    assert [answer["id"] for answer in answers] == list(range(len(requests) + 1))
    return answers


def database_of(environment: Mapping[str, str], **options: Any) -> str:
    """Return the database of a server that is started in *environment*."""
    (initialized,) = serve(environment, **options)
    database: str = initialized["result"]["capabilities"]["experimental"]["sessions"]["database"]
    return database


def record(environment: Mapping[str, str], *conversations: tuple[Path, str]) -> list[str]:
    """Store one conversation for each folder and text; return their ids."""
    variables = (f"{name}={value}" for name, value in environment.items())
    client = Client("/", command=["env", "-i", *variables, str(SEGUE), "lsp"])
    client.initialize()
    ids = []
    for folder, text in conversations:
        params = {"mode": "new", "workspace": folder.as_uri()}
        ids.append(client.request("session/open", params)["session"]["sessionId"])
        event = {"type": "user_message", "data": {"content": text}}
        client.request("session/append", {"sessionId": ids[-1], "events": [event]})
    assert client.shutdown() == 0
    return ids


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = Path(os.path.realpath(tmp_path)) / "home"
    path.mkdir()
    return path


@pytest.fixture
def plain(home: Path) -> dict[str, str]:
    """Return an environment with nothing in it but what every user has."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture
def hostile(home: Path) -> Path:
    """Return a workspace whose modules have the names of Python's, the libraries' and our own."""
    workspace = home / "workspace"
    trap = f"open({str(home / 'executed')!r}, 'a').write(__name__ + chr(10))\nraise SystemExit(3)\n"
    modules = [
        "attr", "attrs", "cattrs", "uuid6", "pygls", "lsprotocol", "aiosqlite", "pysqlite3",
        "segue", "sitecustomize", "usercustomize", "re", "json", "os", "site", "runpy", "typing",
        "logging", "asyncio", "encodings", "codecs", "tomllib", "platformdirs", "click", "mcp",
        "mcp_types", "pydantic", "anyio", "opentelemetry",
    ]  # fmt: skip
    user_site = f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for folder in (workspace, workspace / user_site):
        folder.mkdir(parents=True)
        for module in modules:
            (folder / f"{module}.py").write_text(trap)
    for name in ("python", "python3", "readlink", "git", "command", "unshare"):
        (workspace / name).write_text(
            f"#!/bin/sh\necho {name} >>{shlex.quote(str(home))}/executed\n"
        )
        (workspace / name).chmod(0o755)
    return workspace


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PYTHONPATH": "."},
        {"PYTHONPATH": "{workspace}"},
        {"PYTHONHOME": "/nowhere"},
        {"PYTHONHOME": "{workspace}", "PYTHONPATH": "{workspace}"},
        {"PYTHONUSERBASE": "{workspace}/.local", "PYTHONSTARTUP": "{workspace}/re.py"},
        {"HOME": "."},
        {"PATH": ".:{path}"},
    ],
)
def test_no_code_of_the_workspace_runs(
    variables: dict[str, str], hostile: Path, plain: dict[str, str], home: Path
) -> None:
    environment = plain | {
        name: value.format(workspace=hostile, path=plain["PATH"])
        for name, value in variables.items()
    }
    environment["SEGUE_DATABASE"] = str(home / "sessions.db")
    serve(environment, ("session/open", {"workspace": str(hostile)}), cwd=hostile)
    link = home / "segue"
    link.symlink_to(SEGUE)
    for command in ("list", "demo", "mcp"):
        assert (
            run(
                environment, command, cwd=hostile, program=link, stdin=subprocess.DEVNULL
            ).returncode
            == 0
        )
    assert not (home / "executed").exists()


def test_a_module_that_is_run_does_not_import_from_the_working_directory(
    hostile: Path, plain: dict[str, str], home: Path
) -> None:
    """Python itself does before any of our code runs: the documents say `python -I -m segue`."""
    for module in ("segue", "runpy", "sys"):
        (hostile / f"{module}.py").unlink(missing_ok=True)
    before = (sys.executable, "-m")
    done = run(plain, "list", before=before, program="segue", cwd=hostile)
    assert (done.returncode, done.stderr) == (0, "No conversations yet.\n")
    assert not (home / "executed").exists()


@pytest.mark.parametrize("way", ["link", "link to a link", "PATH", "sh"])
def test_the_command_finds_its_python(way: str, plain: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "bin"
    folder.mkdir(parents=True)
    link = folder / "segue"
    link.symlink_to(SEGUE)
    command: list[str | Path] = [link]
    if way == "link to a link":
        (tmp_path / "other").symlink_to(link)
        command = [tmp_path / "other"]
    elif way == "PATH":
        plain["PATH"] = f"{folder}:{plain['PATH']}"
        command = ["segue"]
    elif way == "sh":
        command = ["sh", "segue"]
        command = ["segue"] if way == "PATH" else ["sh", "segue"]
    done = subprocess.run(
        [*command, "--version"],
        env=plain, cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("segue ")


def test_the_command_may_lie_in_a_folder_with_spaces(plain: dict[str, str], tmp_path: Path) -> None:
    environment = tmp_path / "an environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60
    )
    (path_file,) = Path(sys.prefix).glob("lib/*/site-packages/_editable_impl_segue.pth")
    packages = f"{path_file.read_text()}\n{path_file.parent}\n"
    (environment / path_file.parent.relative_to(sys.prefix) / "segue.pth").write_text(packages)
    shutil.copy(SEGUE, environment / "bin" / "segue")
    done = subprocess.run(
        [environment / "bin" / "segue", "list", "--cwd", "/an other"],
        env=plain, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr == "Error: /an other does not exist, and no conversation was stored there.\n"


def test_a_python_in_the_working_directory_is_not_started(tmp_path: Path) -> None:
    """An installation without a Python beside the command uses that of the PATH."""
    shutil.copy(SEGUE, tmp_path / "segue")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "python3").write_text("#!/bin/sh\necho executed\n")
    (workspace / "python3").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "segue"],
        env={"PATH": ".:"}, cwd=workspace, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "no Python is beside" in done.stderr


# -- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {"XDG_DATA_HOME": ".", "XDG_CONFIG_HOME": "."},
        {"XDG_DATA_HOME": "", "XDG_CONFIG_HOME": " "},
        {
            "XDG_DATA_HOME": "{home}/snap/code/181/.local/share",
            "XDG_DATA_HOME_VSCODE_SNAP_ORIG": "",
            "SNAP_USER_DATA": "{home}/snap/code/181",
        },
        {"HOME": "{home}/snap/nvim/7", "SNAP_REAL_HOME": "{home}",
         "SNAP_USER_DATA": "{home}/snap/nvim/7"},
        {"XDG_DATA_HOME": "{home}/.var/app/x.y/data", "HOST_XDG_DATA_HOME": "{home}/.local/share"},
    ],
)  # fmt: skip
def test_every_editor_has_the_one_store_of_the_user(
    variables: dict[str, str], plain: dict[str, str], home: Path
) -> None:
    workspace = home / "workspace"
    (workspace / "segue").mkdir(parents=True)
    (workspace / "segue" / "config.toml").write_text('database = "/elsewhere.db"\n')
    environment = plain | {name: value.format(home=home) for name, value in variables.items()}
    expected = str(home / ".local/share/segue/sessions.db")
    assert database_of(environment, cwd=workspace) == expected


@pytest.mark.parametrize(
    ("home", "command"),
    [(None, "lsp"), ("", "lsp"), (".", "lsp"), *((None, each) for each in ("list", "show x",
     "doctor", "doctor --repair", "backup"))],
)  # fmt: skip
def test_a_user_without_a_home_is_told_so(
    home: str | None, command: str, plain: dict[str, str]
) -> None:
    done = run(without_home(plain, home), *command.split(), before=unknown_user())
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "this user has no home directory" in done.stderr


def test_a_named_database_needs_no_home(plain: dict[str, str], tmp_path: Path) -> None:
    environment = without_home(plain, None)
    path = str(tmp_path / "named.db")
    before = unknown_user()
    assert database_of(environment | {"SEGUE_DATABASE": path}, before=before) == path
    assert database_of(environment, before=before, arguments=["--database", path]) == path
    done = run(environment | {"SEGUE_DATABASE": "~/a.db"}, "lsp", before=before)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "the home directory in '~/a.db' is not known" in done.stderr


def without_home(plain: Mapping[str, str], value: str | None) -> dict[str, str]:
    environment = {name: each for name, each in plain.items() if name != "HOME"}
    return environment if value is None else environment | {"HOME": value}


def unknown_user() -> Sequence[str]:
    """Return a command that runs another one as a user without an entry in the user database."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a user without an entry in the user database")
    done = subprocess.run([*UNKNOWN_USER, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a user cannot be mapped here: {done.stderr.strip()}")
    return UNKNOWN_USER


@pytest.mark.parametrize("home", ["/etc/passwd", "/proc/nowhere", "/proc"])
def test_a_home_that_cannot_hold_the_store_is_described(home: str, plain: dict[str, str]) -> None:
    plain["HOME"] = home
    _, listed = serve(plain, ("session/list", {}))
    assert listed["error"]["data"]["kind"] == "StorageUnavailable"
    done = run(plain, "list")
    assert (done.returncode, done.stderr) == (0, "No conversations yet.\n")
    done = run(plain, "doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{home}/.local/share/segue cannot be written" in done.stdout


@pytest.fixture
def hidden(home: Path) -> Path:
    """Return a folder that the user of `unknown_user` cannot enter."""
    folder = home / "hidden"
    folder.mkdir(mode=0)
    if subprocess.run([*unknown_user(), "ls", folder], capture_output=True).returncode == 0:
        pytest.skip("this user can read every folder")
    return folder


def test_a_store_that_cannot_be_reached_is_not_an_empty_one(
    plain: dict[str, str], hidden: Path
) -> None:
    environment = plain | {"SEGUE_DATABASE": str(hidden / "a.db")}
    for arguments in (["list"], ["show", "x"], ["--database", str(hidden / "b.db"), "doctor"]):
        done = run(environment, *arguments, before=unknown_user())
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert ".db cannot be reached: Permission denied" in done.stderr


def test_settings_of_another_user_do_not_count(
    plain: dict[str, str], hidden: Path, home: Path
) -> None:
    environment = plain | {"XDG_CONFIG_HOME": str(hidden)}
    done = run(environment, "lsp", before=unknown_user(), stdin=subprocess.DEVNULL)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert "config.toml cannot be reached (Permission denied); its settings" in done.stderr

    (home / ".config/segue").mkdir(parents=True)
    (home / ".config/segue/config.toml").write_text("log = 'info'\n")
    (home / ".config/segue/config.toml").chmod(0)
    done = run(plain, "lsp", before=unknown_user())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "config.toml cannot be read: Permission denied" in done.stderr


# -- locales ------------------------------------------------------------------------------------

NAMES = [
    "Überraschung",
    "日本語 \uff5e",
    b"not utf-8 \x9c \xa1\xc1 \xe9".decode(errors="surrogateescape"),
]


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two locales whose encoding is not UTF-8."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef, to make locales that are not UTF-8")
    for name in ("en_US.ISO-8859-1", "ja_JP.EUC-JP"):
        language, _, encoding = name.partition(".")
        done = subprocess.run(
            ["localedef", "-i", language, "-f", encoding, folder / name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not (folder / name).exists():
            pytest.skip(f"needs the package `locales`: {done.stderr.strip()}")
    return folder


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "ja_JP.EUC-JP"])
def test_a_folder_is_the_same_under_every_locale(
    locale: str, locales: Path, plain: dict[str, str], home: Path
) -> None:
    plain["SEGUE_DATABASE"] = str(home / "Überraschung.db")
    environment = plain | {"LC_ALL": locale, "LOCPATH": str(locales)}
    names = NAMES[:1] if locale in ("C", "POSIX") else NAMES[:2]
    for name in names:
        (home / name).mkdir()
    record(plain, *((home / name, name) for name in names))
    for name in names:
        folder = home / name
        requests = [
            ("session/findResumable", each) for each in ({"workspace": folder.as_uri()}, {})
        ]
        for answer in serve(environment, *requests, cwd=folder)[1:]:
            assert answer["result"]["session"]["title"] == name
        listed = run(environment, "list", "--json", "--cwd", ".", cwd=folder)
        assert [each["title"] for each in json.loads(listed.stdout)["sessions"]] == [name]


@pytest.mark.parametrize(
    ("locale", "encoding"),
    [("en_US.ISO-8859-1", "iso-8859-1"), ("ja_JP.EUC-JP", "euc-jp"), ("C", "utf-8")],
)
def test_output_is_in_the_encoding_of_the_locale(
    locale: str, encoding: str, locales: Path, plain: dict[str, str], home: Path
) -> None:
    record(plain, (home, "Überraschung 日本"))
    environment = plain | {"LC_ALL": locale, "LOCPATH": str(locales)}
    listed = run(environment, "list", "--all", text=False, errors=None)
    assert listed.returncode == 0
    text = "Überraschung 日本".encode(encoding, "backslashreplace")
    assert text in listed.stdout


def test_what_the_output_cannot_express_is_escaped(plain: dict[str, str], home: Path) -> None:
    record(plain, (home, "Überraschung \u05e9"))
    for encoding in ("ascii", "ascii:strict", "latin-1", "no-such-encoding", "hex"):
        done = run(plain | {"PYTHONIOENCODING": encoding}, "list", "--all", text=False, errors=None)
        assert done.returncode == 0
        if encoding.startswith("ascii"):
            assert b"  \\xdcberraschung \\u05e9\n" in done.stdout


def test_arguments_that_are_no_text_are_passed_on_unchanged(
    locales: Path, plain: dict[str, str], home: Path
) -> None:
    """The process starts itself again, to read them as UTF-8."""
    environment = plain | {"LC_ALL": "ja_JP.EUC-JP", "LOCPATH": str(locales)}
    folder = home / NAMES[2]
    done = run(environment, "--database", f"{folder}", "list")
    assert done.stderr == (
        f"Error: there is no database at {home}/not utf-8 \\udc9c \\udca1\\udcc1 \\udce9\n"
    )


# -- standard streams ---------------------------------------------------------------------------


def close(descriptor: int) -> Callable[[], None]:
    return lambda: os.close(descriptor)


@pytest.mark.parametrize("target", ["closed", "/dev/full"])
def test_an_output_that_cannot_be_written_is_an_error(
    target: str, plain: dict[str, str], home: Path
) -> None:
    (session_id,) = record(plain, (home, "Title"))
    options: dict[str, Any] = {"capture_output": False, "stderr": subprocess.PIPE}
    with open("/dev/full", "w") as full:
        if target == "closed":
            options["preexec_fn"] = close(1)
            reason = "standard output is closed"
        else:
            options["stdout"] = full
            reason = "the output cannot be written: No space left on device"
        for command in (
            "list --all", "list --json", f"show {session_id}", "doctor", "backup", "demo"
        ):  # fmt: skip
            done = run(plain, *command.split(), **options)
            assert (done.returncode, done.stderr) == (1, f"Error: {reason}\n"), command


def test_a_reader_that_leaves_is_no_error_to_speak_of(plain: dict[str, str], home: Path) -> None:
    (session_id,) = record(plain, (home, "word " * 100_000))
    for arguments in (["show", session_id], ["show", "--json", session_id]):
        process = subprocess.Popen(
            [SEGUE, *arguments], env=plain, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("target", ["closed", "/dev/full"])
def test_without_stderr_the_exit_code_says_it(
    target: str, plain: dict[str, str], home: Path
) -> None:
    record(plain, (home, "Title"))
    with open("/dev/full", "w") as full:
        options: dict[str, Any] = (
            {"preexec_fn": close(2)} if target == "closed" else {"stderr": full}
        ) | {"capture_output": False, "stdout": subprocess.PIPE}
        assert run(plain, "list", **options).returncode == 0
        assert run(plain, "show", "nope", **options).returncode == 1
        assert run(plain, "nope", **options).returncode == 2
        listed = serve(plain, ("session/list", {}), **options)
        assert len(listed[1]["result"]["sessions"]) == 1


@pytest.mark.parametrize("descriptor", [0, 1])
def test_a_server_without_its_streams_says_so(descriptor: int, plain: dict[str, str]) -> None:
    done = run(plain, "lsp", preexec_fn=close(descriptor))
    assert done.returncode == 2
    assert done.stderr == (
        "segue: `segue lsp` needs a standard input and output; one of them is closed\n"
    )


def test_a_server_on_a_terminal_says_what_it_waits_for(plain: dict[str, str]) -> None:
    ours, terminal = os.openpty()
    process = subprocess.Popen(
        [SEGUE, "lsp"], env=plain, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(terminal)
    assert process.stderr is not None
    assert b"Ctrl-D ends it" in process.stderr.readline()
    os.write(ours, b"\x04")
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 0
    os.close(ours)


# -- the current folder, the clock, the settings -----------------------------------------------


def test_a_current_folder_that_was_removed_is_described(plain: dict[str, str], home: Path) -> None:
    gone = home / "gone"
    gone.mkdir()
    record(plain, (gone, "There before"))

    def leave() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    for arguments in (["list", "--cwd", "."], ["backup", "x.db"], ["--database", "x.db", "list"]):
        gone.mkdir(exist_ok=True)
        done = run(plain, *arguments, preexec_fn=leave)
        assert done.returncode in (1, 2)
        assert "was removed. Give an absolute path" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert "There before" in run(plain, "list", "--cwd", str(gone)).stdout


def test_a_folder_that_never_was_is_an_error(plain: dict[str, str], home: Path) -> None:
    for path, fault in (
        (home / "nope", "does not exist, and no conversation was stored there."),
        (Path("/etc/passwd"), "is not a folder: there is a file"),
    ):
        for more in ([], ["--json"]):
            done = run(plain, "list", "--cwd", str(path), *more)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == f"Error: {path} {fault}\n"


@pytest.mark.parametrize("command", ["list", "show x", "doctor", "doctor --repair", "backup"])
def test_a_database_that_is_named_must_exist(
    command: str, plain: dict[str, str], home: Path
) -> None:
    done = run(plain, "--database", str(home / "nope.db"), *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: there is no database at {home}/nope.db\n"


def test_an_unknown_setting_is_a_warning(plain: dict[str, str], home: Path) -> None:
    (home / ".config/segue").mkdir(parents=True)
    (home / ".config/segue/config.toml").write_text("search = true\n")
    done = run(plain, "list")
    assert done.returncode == 0
    assert "config.toml: the key 'search' is not known" in done.stderr.splitlines()[0]
    done = run(plain, "lsp", stdin=subprocess.DEVNULL)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert "WARNING" in done.stderr


CLOCK = """
import sys, time
real, from_start = time.time_ns, {seconds} * 10**9 - time.time_ns()
def read_ns():
    now = real() + from_start
    if not -2**63 <= now < 2**63:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    return now
time.time_ns, time.time = read_ns, lambda: read_ns() / 1e9
time.gmtime = lambda: time.struct_time(({year}, 1, 1, 0, 0, 0, 0, 1, 0))
from segue.startup.compose import main
sys.argv[:] = ["segue", "lsp"]
main()
"""


@pytest.mark.parametrize(
    ("year", "seconds", "expected"),
    [
        (1600, -(2**33 + 2**32), "1970"),
        (2106, 4_294_967_296, "2106"),
        (2262, 9_223_372_035, "2262"),  # the limit is reached two seconds later
        (2263, 9_246_182_400, "2262"),
        (20_000, 568_971_820_800, "2262"),
    ],
)
def test_a_server_starts_at_any_time(
    year: int, seconds: int, expected: str, tmp_path: Path
) -> None:
    program = CLOCK.format(seconds=seconds, year=year)
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", program])
    client.initialize()
    if year == 2262:
        time.sleep(2)
    opened = client.request("session/open", {"mode": "new"})
    event = {"type": "user_message", "data": {"content": "hello"}}
    params = {"sessionId": opened["session"]["sessionId"], "events": [event]}
    client.request("session/append", params)
    (stored,) = client.request("session/events", {"sessionId": params["sessionId"]})["events"]
    assert stored["createdAt"].startswith(expected)
    assert client.shutdown() == 0


def test_the_commands_of_the_readme_need_only_the_data_folder(
    plain: dict[str, str], home: Path
) -> None:
    data = home / ".local/share/segue"
    data.mkdir(parents=True, mode=0o700)
    folders = (home, home / ".local", home / ".local/share")
    for folder in folders:
        folder.chmod(0o500)
    try:
        record(plain, (Path("/"), "Title"))
        for command in ("demo", "list", "doctor", "backup"):
            done = run(plain, command)
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert sorted(path.name for path in home.iterdir()) == [".local"]
