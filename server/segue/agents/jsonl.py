"""Reads files with one JSON object a line, from where an earlier reading ended."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from segue.agents.files import open_file
from segue.agents.transcript import BrokenPart, Item, Transcript, begin, state_of

MAX_LINE = 64 * 1024 * 1024
"""How long a line can be, in bytes; a longer one is skipped, and said."""

_CHUNK = 1 << 20
_TAIL = 1_024
_BOM = b"\xef\xbb\xbf"

ReadItems = Callable[[Transcript, "JsonLines", Mapping[str, Any] | None], Iterator[Item]]
"""Returns the items of a transcript, given its lines, and its state if the lines continue it."""


def read_transcript(
    path: Path, states: Mapping[str, Any], id: str, read_items: ReadItems
) -> Iterator[Transcript]:
    """Yield the one conversation of a file, from where *states* say that an earlier import ended.

    *id* is that of its session, unless an earlier import has continued it in a fork.
    """
    stored_id, state = state_of(path, states)
    with JsonLines(str(path), state) as lines:
        continues = stored_id is not None and lines.continues
        transcript = Transcript(id=(stored_id if continues else None) or id, path=str(path))
        transcript.is_unchanged = lines.is_unchanged
        if not lines.is_unchanged:
            begin(transcript, read_items(transcript, lines, state if continues else None))
        yield transcript


class Records(Protocol):
    """The objects of JSON lines, as the reader of a source takes them."""

    number: int
    """The number of the line whose object was yielded last."""
    broken: list[BrokenPart]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the objects in their order."""

    def state(self) -> dict[str, Any]:
        """Return what the next reading needs."""


class JsonLines:
    """The lines of a file that grows. Use it once: `with JsonLines(path, state) as lines`.

    Raises OSError if the path is no file, or cannot be read.
    """

    def __init__(self, path: str, state: Mapping[str, Any] | None) -> None:
        """*state* is what `state` returned when the file was read before."""
        self.path = path
        self.broken: list[BrokenPart] = []
        self._fd, self._stat = open_file(path)
        try:
            self._head = self._digest_of_head()
            before = state or {}
            same = before.get("file") == self._identity() and before.get("head") == self._head
            self.is_unchanged = same and before.get("seen") == [
                self._stat.st_size,
                self._stat.st_mtime_ns,
            ]
            offset = int(before.get("offset", 0))
            self.continues = (
                same
                and 0 < offset <= self._stat.st_size
                and before.get("tail", "") in ("", self._digest_of_tail(offset))
            )
            self._offset: int = offset if self.continues else 0
            self.number: int = before.get("line", 0) if self.continues else 0
            self._line = b""
            self._held: tuple[int, int] | None = None
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the object of each line; `number` is that of its line, from 1.

        A last line that is not complete is left for the next time. One that is no JSON object is
        reported in `broken`.
        """
        for line in self._lines():
            self.number += 1
            text = line.removeprefix(_BOM) if self.number == 1 else line
            # What a crash kept from being written is NULs, and the file goes on behind them.
            self._line = text = text.strip(b"\0") or text
            if not text.strip():
                continue
            record, reason = _parse(text)
            if record is None:
                self.broken.append(BrokenPart(f"line {self.number}", reason))
            else:
                yield record

    def digest(self) -> str:
        """Return a digest of the line whose object was yielded last."""
        return hashlib.sha256(self._line).hexdigest()[:16]

    def hold(self) -> None:
        """Let the next reading begin with the line whose object was yielded last, until `release`.

        A line that is held already stays.
        """
        if self._held is None:
            self._held = (self._offset, self.number - 1)

    def release(self) -> None:
        """Let the next reading begin where this one ends."""
        self._held = None

    def state(self) -> dict[str, Any]:
        """Return what the next reading of the file needs."""
        offset, number = self._held or (self._offset, self.number)
        return {
            "path": self.path,
            "file": self._identity(),
            "head": self._head,
            "seen": [self._stat.st_size, self._stat.st_mtime_ns],
            "offset": offset,
            "line": number,
            "tail": self._digest_of_tail(offset),
        }

    def _lines(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        size = 0
        position = self._offset
        # The line that was read last had no line break yet: what is left of it is no line.
        is_within = position > 0 and os.pread(self._fd, 1, position - 1) != b"\n"
        while chunk := os.pread(self._fd, _CHUNK, position):
            position += len(chunk)
            begin = 0
            while (end := chunk.find(b"\n", begin)) >= 0:
                if is_within:
                    self.number, is_within = self.number - 1, False
                yield from self._whole(pending, size, chunk[begin:end])
                self._offset = position - len(chunk) + end + 1
                pending, size, begin = [], 0, end + 1
            rest = chunk[begin:]
            size += len(rest)
            if size <= MAX_LINE:
                pending.append(rest)
        # Without a line break it may be half written; but no part of an object is an object.
        rest = b"".join(pending)
        if 0 < size <= MAX_LINE and _parse(rest)[0] is not None:
            yield rest
            self._offset = position

    def _whole(self, pending: list[bytes], size: int, end: bytes) -> Iterator[bytes]:
        if size + len(end) <= MAX_LINE:
            yield b"".join((*pending, end))
            return
        self.number += 1
        reason = f"longer than {MAX_LINE // 2**20} MiB"
        self.broken.append(BrokenPart(f"line {self.number}", reason))

    def _identity(self) -> list[int]:
        return [self._stat.st_dev, self._stat.st_ino]

    def _digest_of_head(self) -> str:
        """Return a digest of the first line, or of its beginning: another one is another file."""
        head = os.pread(self._fd, 4_096, 0).split(b"\n", 1)[0]
        return hashlib.sha256(head).hexdigest()[:16] if head else ""

    def _digest_of_tail(self, offset: int) -> str:
        """Return a digest of what lies before *offset*; another one if the file was cut."""
        begin = max(0, offset - _TAIL)
        return hashlib.sha256(os.pread(self._fd, offset - begin, begin)).hexdigest()[:16]


def _parse(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the object, or None and the reason why it is none."""
    try:
        value = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None, "not JSON"
    if not isinstance(value, dict):
        return None, "not a JSON object"
    return value, ""
