"""The marks of a record that a model is given as text: nobody asks for what stands in it."""

import re

TITLE_MARK = "[Note from Segue:"
"""How such a text begins, also where no more of it is left than a title."""

BEGIN_MARK = f"{TITLE_MARK} the user goes on with an earlier conversation"
OPEN = "<conversation>\n"
CLOSE = "</conversation>\n"
"""The record stands between these two: no text in it has them, after `without_marks`."""

END = f"{CLOSE}[The user's new message follows.]\n\n"

_MARKS_INSIDE = re.compile(
    r"<(?=\s{0,3}/?\s{0,3}conversation\b)|\[(?=Note from Segue:|The user's new message follows)",
    re.IGNORECASE,
)
_INSTEAD = {"<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", "[": "("}

_END_MARK = re.compile(r"</conversation>\s*\[The user's new message follows\.\]\n*")


def without_marks(text: str) -> str:
    """Return *text*, of the same length, with what would read as one of the marks changed."""
    return _MARKS_INSIDE.sub(lambda mark: _INSTEAD[mark[0]], text)


def is_told(title: str) -> bool:
    """Return whether a title was made of such a text, as agents do of the first prompt."""
    return title.lstrip().startswith(TITLE_MARK)


def strip(text: str) -> str:
    """Return *text* without the texts of histories that it holds: what the user said."""
    kept, begin = [], 0
    while (mark := text.find(BEGIN_MARK, begin)) >= 0 and (end := _END_MARK.search(text, mark)):
        # Inside of such a text there is no mark: one that stands before the last is the user's.
        kept.append(text[begin : text.rfind(BEGIN_MARK, mark, end.start())])
        begin = end.end()
    return "".join((*kept, text[begin:])) if kept else text
