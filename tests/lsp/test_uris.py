"""What a client gives as a folder, and which path that is."""

import os
import sys

import pytest

from segue.lsp.uris import path_of
from segue.model.workspace import MAX_PATH, InvalidWorkspaceError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the paths are POSIX paths")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/home/me/a", "/home/me/a"),
        ("/home/me/a?b#c%20d", "/home/me/a?b#c%20d"),
        ("file:///home/me/a", "/home/me/a"),
        ("FILE:///home/me/a", "/home/me/a"),
        ("file:/home/me/a", "/home/me/a"),
        ("file://localhost/home/me/a", "/home/me/a"),
        ("file://LOCALHOST/home/me/a", "/home/me/a"),
        (f"file://{os.uname().nodename.upper()}/home/me/a", "/home/me/a"),
        ("file:///home/me/a%20b", "/home/me/a b"),
        ("file:///home/me/a b", "/home/me/a b"),
        ("file:///home/me/50%25", "/home/me/50%"),
        ("file:///home/me/100%", "/home/me/100%"),
        ("file:///home/me/a;b", "/home/me/a;b"),
        # Editors encode both; who does not encode them means the folder's name.
        ("file:///home/me/c#", "/home/me/c#"),
        ("file:///home/me/what?", "/home/me/what?"),
        ("file:///home/me/a?b#c", "/home/me/a?b#c"),
        ("file:///home/me/%3F%23", "/home/me/?#"),
        ("file:///home/me/%C3%BC", "/home/me/ü"),
        ("file:///home/me/ü", "/home/me/ü"),
        ("file:///home/me/%FF", "/home/me/\udcff"),
        ("file:///home/me/./a/../b/", "/home/me/b"),
        ("file:///c%3A/Users", "/c:/Users"),
        ("file:///", "/"),
    ],
)
def test_a_file_uri_names_a_path(given: str, path: str) -> None:
    assert path_of(given) == path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "expected an absolute path or a file: URI"),
        ("relative/a:b", "expected an absolute path"),
        ("C:\\Users\\me", "expected an absolute path"),
        ("untitled:Untitled-1", "untitled:Untitled-1 is not a folder of this machine"),
        ("vscode-remote://ssh-remote+host/home/me", "not a folder of this machine"),
        ("vscode-vfs://github/o/r", "not a folder of this machine"),
        ("file://server/share/a", "folder of another machine"),
        ("file:relative", "no absolute path"),
        ("file://localhost", "no absolute path"),
        ("file:", "no absolute path"),
        ("file:///half \ud83d", "not valid Unicode"),
    ],
)
def test_anything_else_is_refused_in_words(given: str, words: str) -> None:
    with pytest.raises(InvalidWorkspaceError, match=words.replace("+", r"\+")) as refused:
        path_of(given)
    str(refused.value).encode()


def test_a_given_text_that_no_path_can_be_is_refused_before_it_is_read() -> None:
    for given in ("/" * 10_000_000, "file:///" + "%41" * 10_000_000, "x:" * 10_000_000):
        with pytest.raises(InvalidWorkspaceError, match=f"at most {MAX_PATH:,} bytes"):
            path_of(given)
    assert path_of("file:///" + "%41" * (MAX_PATH - 1)) == "/" + "A" * (MAX_PATH - 1)
