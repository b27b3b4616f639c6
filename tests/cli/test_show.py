"""`segue show` on a terminal: what was said is drawn as Markdown, and nothing of it is hidden."""

import re

import pytest

from tests.cli.helpers import run, screen
from tests.conftest import StartClient

ANSWER = """# A heading

The *first* line
and the **second** one, `a_name`, <b>bold</b> and ![a picture](http://127.0.0.1/x.png).

<details>hidden?</details>

```python
def f(x):
    return "<b>"
```

* an [item](http://127.0.0.1/y)

| 名前 | b |
|---|---|
| [bold]1[/bold] | 2 |

\u05e9\u05dc\u05d5\u05dd \x1b[31mred\x07
"""


@pytest.fixture
def recorded(start: StartClient) -> str:
    """Store a session and return its id."""
    client = start()
    session_id: str = client.request("session/open")["session"]["sessionId"]
    events = [
        {"type": "user_message", "data": {"content": "one\ntwo"}},
        {"type": "text", "data": {"content": ANSWER}},
        {"type": "out_of_band_output", "data": {"name": "notes", "content": "* no\n* Markdown"}},
    ]
    client.request("session/append", {"sessionId": session_id, "events": events})
    client.shutdown()
    return session_id


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_everything_of_an_answer_is_shown_on_a_terminal(columns: int, recorded: str) -> None:
    shown = screen(columns, "show", recorded, NO_COLOR="1")
    for text in (
        *("A heading", "and the second one, a_name", "<b>bold</b>", "http://127.0.0.1/x.png"),
        *("<details>hidden?</details>", "def f(x):\n", 'return "<b>"', "http://127.0.0.1/y"),
        *("名前", "[bold]1[/bold]", "* no\n* Markdown", "\none\ntwo\n", r"\x1b[31mred\x07"),
    ):
        assert text in shown, text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert all(len(line) <= columns for line in shown.splitlines() if "127.0.0.1" in line)


def test_an_answer_is_drawn_in_colours_where_they_are_wanted(recorded: str) -> None:
    shown = screen(80, "show", recorded, NO_COLOR="")
    assert "\x1b[1msecond\x1b[0m" in shown
    assert "**second**" not in shown
    assert not re.search(r"\x1b(?!\[[\d;]*m)", shown)
    assert "\x07" not in shown


def test_a_pipe_gets_what_was_said(recorded: str) -> None:
    assert "and the **second** one, `a_name`, <b>bold</b>" in run("show", recorded).stdout
    assert "**second**" in screen(80, "show", recorded, TERM="dumb")
