"""The names of repositories: alike for every spelling of one, and never with a password."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from segue.model.repository import MAX_NAME, name_of_url, repository_of
from segue.model.workspace import locate_workspace, repository

NAME = "github.com/org/repo"

SPELLINGS = [
    "https://github.com/org/repo.git",
    "https://github.com/org/repo",
    "https://github.com/Org/Repo.git/",
    "HTTPS://GitHub.com//org/repo.GIT",
    "https://www.github.com/org/repo",
    "http://github.com:80/org/repo",
    "https://anna@github.com/org/repo.git",
    "https://anna:p@ss@github.com:443/org/repo.git",
    "https://x-access-token:ghs_secret@github.com/org/repo",
    "https://github.com/org/repo.git?private_token=secret",
    "https://github.com/org/repo#secret",
    "git@github.com:org/repo.git",
    "git@github.com:/org/repo.git",
    "github.com:org/repo",
    "git@GITHUB.COM:Org/Repo",
    "git@github.com-work:org/repo.git",
    "[git@github.com:22]:org/repo.git",
    "ssh://git@github.com/org/repo.git",
    "ssh://git@github.com:22/org/repo.git",
    "ssh://git@ssh.github.com:443/org/repo.git",
    "git+ssh://git@github.com/org/repo",
    "ssh+git://git@github.com./org/repo",
    "git://github.com/org/repo.git",
    "  https://github.com/org/repo  ",
]


@pytest.mark.parametrize("url", SPELLINGS)
def test_every_spelling_of_one_repository_has_one_name(url: str) -> None:
    assert name_of_url(url) == NAME


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@git.example.com:Team/Repo.git", "git.example.com/Team/Repo"),
        ("ssh://git@git.example.com:2222/~anna/repo", "git.example.com/~anna/repo"),
        ("https://gitlab.com/Group/Sub/Repo.git", "gitlab.com/group/sub/repo"),
        ("git@altssh.gitlab.com:group/repo", "gitlab.com/group/repo"),
        ("https://codeberg.org/A/B", "codeberg.org/a/b"),
        ("https://dev.azure.com/org/My%20Project/_git/R", "dev.azure.com/org/My%20Project/_git/R"),
        ("ssh://git@[2001:db8::1]:22/a/b.git", "2001:db8::1/a/b"),
        ("https://git.example.com/.git", None),
        # An alias of ssh is a name like any other: equal where people name it alike.
        ("work:org/repo.git", "work/org/repo"),
    ],
)
def test_the_name_is_the_host_and_the_path(url: str, name: str | None) -> None:
    assert name_of_url(url) == name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/repo.git",
        "../repo.git",
        "./a:b",
        "repo",
        "~/repo",
        "file:///srv/git/repo.git",
        "C:/work/repo",
        "C:\\work\\repo",
        "\\\\server\\share\\repo",
        "https://localhost/repo",
        "ssh://127.0.0.1:2222/repo",
        "ssh://[::1]/repo",
        "localhost:repo",
        "ext::ssh host %S repo",
        "codecommit::eu-central-1://repo",
        "s3://bucket/repo",
        "https://github.com",
        "https://github.com/",
        "https:///org/repo",
        "git@github.com:",
        "https://github.com/org/../repo",
        f"https://github.com/org/{'x' * MAX_NAME}",
        "https://github.com/org/re\npo",
        "https://github.com/org/re\0po",
        "https://github.com/org/\udcff",
    ],
)
def test_a_path_of_this_machine_has_no_name(url: str) -> None:
    assert name_of_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://anna:secret@host/org/repo",
        "https://anna:sec/ret@host/org/repo",
        "https://secret@host/org/repo",
        "anna:secret@host:org/repo",
        "https://host:secret/org/repo",
        "https://host/org/repo?token=secret",
        "ssh://anna:secret@[::2]:22/org/repo",
        "secret@host:org/repo",
        "https://a@b:secret@host/org/repo",
    ],
)
def test_no_name_has_a_password(url: str) -> None:
    assert "secret" not in (name_of_url(url) or "")
    assert "sec" not in (name_of_url(url) or "")


def config(*lines: str) -> str:
    return "\n".join(lines)


ORIGIN = '[remote "origin"]'
UPSTREAM = '[remote "upstream"]'
URL = "\turl = git@github.com:org/repo.git"
OTHER = "\turl = git@github.com:other/repo.git"


@pytest.mark.parametrize(
    "text",
    [
        config(ORIGIN, URL),
        config("[core]", "\tbare = false", ORIGIN, URL, "\tfetch = +refs/heads/*:refs/x/*"),
        config(ORIGIN, URL, UPSTREAM, OTHER),
        config(UPSTREAM, OTHER, ORIGIN, URL),
        config(UPSTREAM, URL),
        config(UPSTREAM, URL, '[remote "without"]', "\tfetch = x"),
        config(ORIGIN, URL, OTHER),
        config(ORIGIN, "fetch = x", UPSTREAM, OTHER, ORIGIN, URL),
        config(ORIGIN, OTHER, "[segue]", "\trepository = github.com/Org/Repo"),
        config("[segue]", "repository = other/name", "repository = git@github.com:org/repo"),
        config("[SEGUE]", "Repository=github.com/org/repo", ORIGIN, OTHER),
        config('[Remote "origin"]', "\tURL=git@github.com:org/repo.git"),
        config("[remote.origin]", URL),
        f"{ORIGIN} url = git@github.com:org/repo.git",
        config(ORIGIN, '\turl = "git@github.com:org/repo.git"'),
        config(ORIGIN, '\turl = git@"github.com":org/repo.git'),
        config(ORIGIN, f"{URL} # where it came from"),
        config(ORIGIN, f"{URL}; it came from there"),
        config(ORIGIN, "\turl = git@github.com:\\", "org/repo.git"),
        config(ORIGIN, f"{URL}\t  \t"),
        config(ORIGIN, '# [remote "other"]', "; url = nothing", URL),
        config(ORIGIN, "\tnote = x \\", UPSTREAM, URL),
        config("[user]", "\tname = x \\", UPSTREAM, "\tother = y", ORIGIN, URL),
        config("[user]", "\tname = x # \\", ORIGIN, URL),
        config("[user]", "\tname = x \\\\", ORIGIN, URL),
        config("[include]", "\tpath = other", ORIGIN, URL),
        config('[url "git@host:"]', "\tinsteadOf = github:", ORIGIN, URL),
        config(ORIGIN, "\turl =", URL),
        config(ORIGIN, "\turl", URL),
        config(ORIGIN, "\t= x", "\t1 = x", "not git's", '\turl = "open', URL),
        config("[", "[]", "[remote", '[remote "x]', ORIGIN, URL),
        config('[remote "origin"]   ', URL),
        "\ufeff" + config(ORIGIN, URL),
        config(ORIGIN, URL, "").replace("\n", "\r\n"),
        config(ORIGIN, "\turl = git@github.com:\\", "org/repo.git", "").replace("\n", "\r\n"),
    ],
)
def test_the_remote_is_read_as_git_reads_it(text: str) -> None:
    assert repository_of(text) == NAME


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[core]\n\tbare = false\n",
        config(UPSTREAM, URL, '[remote "fork"]', OTHER),
        config(ORIGIN, "\turl = /srv/git/repo"),
        config(ORIGIN, "\turl = ../repo", UPSTREAM, URL),
        config(ORIGIN, "\tpushurl = git@github.com:org/repo.git"),
        config("[include]", "\tpath = /etc/config"),
        config("[remote]", URL),
        config("[segue]", "\trepository = /srv/repo"),
        config("[segue]", "\trepository = anna:secret@host"),
        config('[branch "x"]', "\turl = git@github.com:org/repo.git"),
        config("[user]", "\tname = x \\", ORIGIN, URL),
    ],
)
def test_there_may_be_no_name(text: str) -> None:
    assert repository_of(text) is None


def test_a_person_can_give_any_name() -> None:
    assert repository_of(config("[segue]", "\trepository = thesis")) == "thesis"
    assert repository_of(config("[segue]", "\trepository = Notes/Private/")) == "notes/Private"


@pytest.mark.parametrize("name", ["origin", 'a "quoted" one', "back\\slash", "a.b", "ä"])
def test_git_itself_agrees(tmp_path: Path, name: str) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    git("config", f"remote.{name}.url", 'https://host/a "b" \\ #c;d')
    git("config", f"remote.{name}.fetch", "+refs/*:refs/*")
    assert repository(str(tmp_path / ".git")) is None, "a backslash is in no name"
    git("config", f"remote.{name}.url", "https://host/a#b;c")
    assert repository(str(tmp_path / ".git")) == "host/a"


def test_the_workspace_has_the_name_and_the_worktree(repository: Path, tmp_path: Path) -> None:
    def git(*arguments: str | Path) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@b")
        command = ["git", "-C", repository, *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("remote", "add", "origin", "https://anna:secret@github.com/Org/Repo.git")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    git("worktree", "add", "--quiet", tmp_path / "tree")

    main, tree = locate_workspace(str(repository / "src")), locate_workspace(f"{tmp_path}/tree")

    assert (main.repository, main.worktree) == (NAME, None)
    assert (tree.repository, tree.worktree) == (NAME, "tree")


def test_a_git_directory_behind_a_link_is_no_linked_worktree(
    repository: Path, tmp_path: Path
) -> None:
    (repository / ".git").rename(tmp_path / "elsewhere")
    (repository / ".git").symlink_to(tmp_path / "elsewhere")
    assert locate_workspace(str(repository)).worktree is None


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "binary", "long", "cut"])
def test_a_configuration_that_is_none_gives_no_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(random.Random(1).randbytes(100_000))
    elif kind == "long":
        path.write_text(config(ORIGIN, URL, "#" * 10_000_000))
    elif kind == "cut":
        path.write_text("#" * (256 * 1024 - len(ORIGIN) - 20) + "\n" + config(ORIGIN, URL))
    begun = time.thread_time()
    assert repository(str(tmp_path)) is None
    assert time.thread_time() - begun < 0.1


PIECES = [
    "[", "]", '"', "\\", "\n", "\r\n", " ", "\t", "=", "#", ";", "remote", "origin", "segue",
    "url", "repository", '[remote "origin"]\n', "\turl = ", "https://", "git@", "host:", "@", "/",
    ":", "secret", ".git", "\0", "\udcff", "ä", "\u2028", "%", "?", "..", "\\\n", "\ufeff", "::",
]  # fmt: skip


def test_no_text_raises_or_takes_long() -> None:
    rng = random.Random(7)
    for _ in range(20_000):
        text = "".join(rng.choices(PIECES, k=rng.randrange(60)))
        for name in (repository_of(text), name_of_url(text)):
            assert name is None or (name and "@" not in name and name.isprintable())
            assert name is None or len(name) <= MAX_NAME
    for piece in PIECES:
        begun = time.thread_time()
        repository_of(f"{ORIGIN}\n\turl = {piece * 60_000}\n")
        repository_of(piece * 60_000)
        assert time.thread_time() - begun < 1, piece


def test_a_usual_configuration_takes_no_time() -> None:
    branches = [f'[branch "b{n}"]\n\tremote = origin\n\tmerge = refs/heads/b{n}' for n in range(10)]
    text = config("[core]", "\tbare = false", ORIGIN, URL, *branches)
    best = min(_time(text) for _ in range(5))
    assert best < 0.0005  # 0.05 ms on a machine that does nothing else


def _time(text: str) -> float:
    begun = time.thread_time()
    for _ in range(100):
        repository_of(text)
    return (time.thread_time() - begun) / 100
