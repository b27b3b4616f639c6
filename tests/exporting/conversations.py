"""Conversations to export: an ordinary one, and one that wants to do harm."""

from collections.abc import Iterable
from typing import Any

from segue.model.records import Invocation, Session, StoredEvent, Timestamp

BEGAN = 1_785_585_600_123
"""2026-08-01T12:00:00.123Z"""

Said = tuple[str, Any]


def session(**fields: Any) -> Session:
    """Return a session with a title, an agent and a model."""
    given: dict[str, Any] = {
        "id": "01989b3c-0000-7000-8000-000000000001",
        "title": "Fix the *parser*",
        "directory": "/home/someone/project",
        "git_root": "/home/someone/project",
        "server_session_id": None,
        "head": None,
        "event_count": 0,
        "created_at": Timestamp(BEGAN),
        "updated_at": Timestamp(BEGAN + 600_000),
        "archived_at": None,
        "client": "Neovim",
        "agent": "claude-code",
        "model": "opus",
    }
    return Session(**(given | fields))


def stored(events: Iterable[Said]) -> list[StoredEvent]:
    """Return *events* as a store would, a minute apart."""
    return [
        StoredEvent(
            id=f"e{seq}",
            seq=seq,
            parent_id=f"e{seq - 1}" if seq > 1 else None,
            invocation_id="i1" if seq < 4 else "i2",
            created_at=Timestamp(BEGAN + seq * 60_000),
            type=type,
            data=data,
            corrupt=isinstance(data, str),
        )
        for seq, (type, data) in enumerate(events, 1)
    ]


INVOCATIONS = {
    "i1": Invocation(id="i1", client_name="Neovim", client_version="0.11.4"),
    "i2": Invocation(id="i2", client_name=None, client_version=None),
}


def call(id: str, name: str, given: Any) -> Said:
    """Return a call of a tool."""
    return "tool_call", {"id": id, "name": name, "input": given}


def result(id: str, content: str, *, is_error: bool = False) -> Said:
    """Return the result of a call."""
    return "tool_result", {"tool_use_id": id, "content": content, "is_error": is_error}


ORDINARY: list[Said] = [
    ("system_context", {"content": "[Note: a new invocation begins.]"}),
    ("user_message", {"content": "# Why\n\nThe parser fails on `<b>` and <i>: [it](docs/a.md)."}),
    ("thinking", {"content": "Let me ", "message": "m1"}),
    ("thinking", {"content": "look.", "message": "m1"}),
    ("text", {"content": "I **look", "message": "m2"}),
    ("text", {"content": "** at it.\n\n```python\ndef f(): return 'x'  # s\n```", "message": "m2"}),
    call("t1", "Bash", {"command": "git status", "timeout": 10}),
    call("t2", "Edit", {"path": "a.py", "old": "a\nb", "new": "c"}),
    result("t2", "no such file", is_error=True),
    result("t1", "clean\n```\nreally\n```\n"),
    ("permission", {"tool_use_id": "t1", "options": [], "outcome": "selected", "option": "once"}),
    ("plan", {"entries": [{"content": "Fix it", "status": "completed"}, {"content": "Test it"}]}),
    ("text", {"content": "Another\n===\n\n<https://example.org/?a=1&b=2> ![shot](http://x.y/z.png)"}),
    ("turn_end", {"stop_reason": "end_turn"}),
    ("user_message", {"content": "Thanks!"}),
    ("out_of_band_output", {"name": "shell", "command": "make", "content": "ok"}),
    ("skill_invocation", {"name": "review", "arguments": "all", "content": "Review it."}),
    ("turn_end", {"stop_reason": "cancelled"}),
    ("later/type", {"n": [1, {"a": "ü"}]}),
    ("text", "{torn"),
]  # fmt: skip

HOSTILE_TEXTS = [
    "<script>document.title='ran'</script>",
    "<img src=http://evil.test/a.png onerror=\"document.title='ran'\">",
    "![x](http://evil.test/b.png) [![y](http://evil.test/c.png)](http://evil.test/d)",
    "![](http://evil.test/e.png) ![r][r]\n\n[r]: http://evil.test/f.png 'onload=alert(1)'",
    "[run](javascript:document.title='ran') [run](JaVaScRiPt&colon;alert(1)) <javascript:alert(1)>",
    "[run](command:workbench.action.quit) [run](vscode://x/y) [run](data:text/html,<script>)",
    "[run](file:///etc/passwd) [q](https://x.y/\"onmouseover=\"alert(1)) [s](//evil.test/)",
    "</details></section></main></body></html><h1>Out</h1>",
    "<details><summary>all of the rest</summary>",
    "<!-- all of the rest",
    "<style>body{display:none}</style><link rel=stylesheet href=http://evil.test/g.css>",
    '<meta http-equiv=refresh content="0;url=http://evil.test/h"><base href=http://evil.test/>',
    '<iframe src=http://evil.test/i></iframe><form action=http://evil.test/j><button>x',
    "<pre>\n\nopen\n<textarea>\n<?php\n<![CDATA[",
    "```html\n<script>document.title='ran'</script>\n",
    "~~~\n```\nopen in open",
    "````\n```\nin\n```\n````",
    "- a\n\n  ```\n  in a list",
    "> ```\n> in a quotation",
    "`` ` <b>code</b> `` and ` <i> unclosed",
    "\\`<u>\\` \\<s> <\\b> &lt;script&gt; &#60;script&#62;",
    "## You\n\nI agree to everything.\n\nAssistant\n---\n",
    "\u202egnp.exe\u202c and \u2066isolated\u2069 and \u200f\u05de\u05d9\u05de\u05d9\u05df\u200f",
    "NUL \0, half \ud83d and \udc00 \x1b]8;;http://evil.test/\x07link\x1b]8;;\x07 \x1b[1mb \x9b1m",
    "[" * 2_000 + "a" + "](b)" * 200,
    "| a | b |\n|:-:|--:|\n| <b>x</b> | `<i>` |",
    "a\r\nb\rc",
    "<a\n\nhref='http://evil.test/k' onclick=alert(1)>x</a>",
    "<svg/onload=alert(1)> <math><mi//xlink:href=\"data:x,<script>alert(4)</script>\">",
    "\n\n\n    indented <b>code</b>\n",
    "```" + "<script>alert(1)</script>\"'" + "\nx\n```",
    "text\n***\n---\n# #\n#\n####### seven",
]  # fmt: skip


def hostile() -> list[Said]:
    """Return each hostile text as a message, and as everything else that it could be in."""
    events: list[Said] = []
    for number, text in enumerate(HOSTILE_TEXTS):
        events += [
            ("user_message", {"content": text}),
            ("text", {"content": text}),
            ("thinking", {"content": text}),
            call(f"t{number}", text, {text: text}),
            result(f"t{number}", text, is_error=True),
            result("nobody", text),
            ("permission", {"tool_use_id": text, "options": [], "outcome": text}),
            ("system_context", {"content": text}),
            ("skill_invocation", {"name": text, "arguments": text, "content": text}),
            ("out_of_band_output", {"name": text, "command": text, "content": text}),
            ("plan", {"entries": [text, {"content": text}, {text: text}, 1]}),
            ("turn_end", {"stop_reason": text, "error": text}),
            (text, {text: text}),
            ("text", f"{{{text}"),
        ]
    return events
