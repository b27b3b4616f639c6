"""Frames of every wrong kind, against the reader and the protocol in process, and over real stdio.

What may be lost is known: after bytes that were no frame, the frame that they run into. Everything
else that asks is answered exactly once, what cannot be a request is told so, and nothing hangs.
"""

import asyncio
import collections
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs

from segue.cli.client import ServerGoneError
from segue.lsp.framing.reader import BadFrame, FrameParser
from segue.lsp.server import SessionServer
from segue.sessions.window import Window
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import CountingClient, Json, framed, quiet, request, stage

IN_PROCESS: dict[Size, int] = {"short": 20_000, "long": 1_000_000}
OVER_STDIO: dict[Size, int] = {"short": 300, "long": 20_000}
EPISODE = 250
AT_ONCE = 40
PATIENCE_S = 2.0
NULL = "null"
Answers = collections.Counter[str]

METHODS = [
    "session/open", "session/append", "session/events", "session/list", "session/findResumable",
    "session/reset", "session/archive", "session/unarchive", "session/delete", "session/close",
    "session/setServerSessionId", "session/getMetadata", "session/setMetadata",
    "initialize", "textDocument/hover", "", "session/", "$/unknown", "session/list\x00",
]  # fmt: skip
FIELDS = [
    "sessionId", "workspace", "mode", "events", "parentId", "after", "before", "limit", "cursor",
    "key", "value", "cwd", "archived", "continueMinutes", "tail", "serverSessionId", "jsonrpc",
]  # fmt: skip
HUGE = [10**6, 67_108_865, 9_999_999_999]


@attrs.frozen
class Piece:
    """Bytes to send; `asks`: the id of a request in sound bytes, as JSON."""

    data: bytes
    asks: str | None = None
    ends: bool = False
    """Nothing behind it can be read: it says that what follows belongs to it."""


class Generator:
    """Makes frames, sound and unsound, from one source of chance."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._ids = 0

    def pieces(self, count: int) -> Iterator[Piece]:
        """Yield *count* pieces; behind an unsound one stands what it may take with it."""
        for _ in range(count):
            if self._chance.random() < 0.6:
                yield self._sound()
            else:
                yield self._unsound()

    def _sound(self) -> Piece:
        message = self._request()
        body = self._body(message)
        return Piece(self._header(len(body)) + body, json.dumps(message["id"]))

    def _body(self, message: Json) -> bytes:
        if self._chance.random() < 0.5:
            return json.dumps(message).encode()
        return json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")

    def _header(self, length: int) -> bytes:
        name = self._chance.choice([b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
        gap = self._chance.choice([b": ", b":", b":\t", b":   ", b" : "])
        end = self._chance.choice([b"\r\n", b"\r\n", b"\n"])
        lines = [name + gap + b"%d" % length]
        if self._chance.random() < 0.3:
            other = [b"Content-Type: application/vscode-jsonrpc; charset=utf-8", b"X-A: b:c"]
            lines.insert(self._chance.randrange(2), self._chance.choice(other))
        return end.join(lines) + end * 2

    def _request(self) -> Json:
        params = self._params() if self._chance.random() < 0.8 else self._value(3)
        return request(self._id(), self._chance.choice(METHODS), params)

    def _id(self) -> int | str:
        self._ids += 1
        kinds: list[Callable[[int], int | str]] = [
            lambda n: n,
            lambda n: -n,
            lambda n: n + 10 ** self._chance.randrange(10, 400),
            lambda n: f"{n}",
            lambda n: f"{n}" + "x" * self._chance.randrange(400),
            lambda n: f"\ud83d {n} \x00 é ‮",
        ]
        made = self._chance.choice(kinds)(self._ids)
        # Half a surrogate pair has no UTF-8: those travel as escapes, or as a question mark.
        return made if isinstance(made, int) else made.encode("utf-8", "replace").decode()

    def _params(self) -> Json:
        fields = self._chance.sample(FIELDS, self._chance.randrange(5))
        return {name: self._value(2) for name in fields}

    def _value(self, depth: int) -> Any:
        chance = self._chance
        match chance.randrange(12 if depth else 9):
            case 0 | 1:
                return chance.choice([None, True, False])
            case 2:
                return chance.choice([0, -1, 1, 200, 1_001, 2**31, 2**63, 2**70, -(10**300)])
            case 3:
                return chance.choice([0.5, -0.0, 1e308, 5e-324])
            case 4 | 5:
                return chance.choice(
                    ["", "auto", "new", "/", "file:///tmp", "untitled:x", "a" * 200]
                )
            case 6:
                return chance.choice(["\x00", "\u202e", "é", "\ufffe", "😀", "'; DROP TABLE x"])
            case 7:
                return chance.choice([float("nan"), float("inf"), "NaN"])
            case 8:
                return [{"id": "1", "type": "text", "data": {"content": "c", "jsonrpc": "2.0"}}]
            case 9 | 10:
                return {f"k{n}": self._value(depth - 1) for n in range(chance.randrange(4))}
            case _:
                return [self._value(depth - 1) for _ in range(chance.randrange(4))]

    def _unsound(self) -> Piece:
        kinds = (
            self._flipped, self._no_message, self._no_message, self._cut_short, self._bad_header,
            self._wrong_length, self._deep, self._no_json, self._cancel, self._twice, self._huge,
        )  # fmt: skip
        return self._chance.choice(kinds)()

    def _flipped(self) -> Piece:
        data = bytearray(framed(self._request()))
        for _ in range(self._chance.randrange(1, 4)):
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        return self._resynchronised(bytes(data))

    def _no_message(self) -> Piece:
        message: Any = self._request()
        change: Any = self._chance.choice(
            [
                {"id": None}, {"id": True}, {"id": 1.5}, {"id": [1]}, {"id": {}}, {"id": 10**4_000},
                {"jsonrpc": "1.0"}, {"jsonrpc": {"jsonrpc": "2.0"}}, {"jsonrpc": None},
                {"method": None}, {"method": 7}, {"method": {}}, {"result": 1}, {"error": {}},
            ]
        )  # fmt: skip
        message |= change
        for name in self._chance.sample(["id", "method", "jsonrpc", "params", ""], 1):
            if self._chance.random() < 0.4:
                message.pop(name, None)
        return Piece(
            framed(self._chance.choice([message, message, message, [message], 1, "x", []]))
        )

    def _no_json(self) -> Piece:
        body = self._chance.choice(
            [
                b"",
                b"{",
                b"\xff\xfe",
                b'"\xed\xa0\xbd"',
                b"nul",
                b"[1,]",
                b"\x00",
                b'{"a":}',
                b"\xef",
            ]
        )
        return Piece(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _deep(self) -> Piece:
        # Not near the interpreter's own limit, where it depends on who asks.
        levels = self._chance.choice([100, 255, 256, 257, 300, 200_000])
        message = request(self._id(), "session/setMetadata", {"value": 0})
        body = json.dumps(message).replace('"value": 0', '"value": ' + "[" * levels + "]" * levels)
        return Piece(b"Content-Length: %d\r\n\r\n%b" % (len(body), body.encode()))

    def _cancel(self) -> Piece:
        msg_id: Any = self._chance.choice(
            [self._ids, str(self._ids), self._ids - 1, None, True, [], 1.0]
        )
        params: Any = self._chance.choice(
            [{"id": msg_id}, {"id": msg_id}, {"id": msg_id}, [], None, 7]
        )
        return Piece(framed({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": params}))

    def _twice(self) -> Piece:
        return Piece(framed(self._request()) * 2)

    def _cut_short(self) -> Piece:
        data = framed(self._request())
        return self._resynchronised(data[: self._chance.randrange(1, len(data))])

    def _bad_header(self) -> Piece:
        line = self._chance.choice(
            [
                b"Content-Length: ten", b"Content-Length: -5", b"Content-Length: 0x10", b"\x00\xff",
                b"Content-Length: 5.0", b"Content-Length 5", b"X-Other: 1", b"Content-Length:",
                b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 99999999999999999999",
                b"Content-Length: +5", "Content-Length: \u0665".encode(), b"x" * 20_000,
            ]
        )  # fmt: skip
        return self._resynchronised(line + b"\r\n\r\n" + json.dumps(self._request()).encode())

    def _wrong_length(self) -> Piece:
        body = json.dumps(self._request()).encode()
        length = max(0, len(body) + self._chance.randrange(-200, 200))
        return self._resynchronised(b"Content-Length: %d\r\n\r\n%b" % (length, body))

    def _huge(self) -> Piece:
        if self._chance.random() < 0.9:
            return self._bad_header()
        length = self._chance.choice(HUGE)
        return Piece(b"Content-Length: %d\r\n\r\n" % length, ends=True)

    def _resynchronised(self, data: bytes) -> Piece:
        """Return *data* with as much blank space behind it as it can claim for itself."""
        # The longest claim: a body of a thousand bytes whose first digit was flipped to a nine.
        filler = b"\n\n" + b" " * 10_000 + b"\r\n"
        return Piece(data + filler + framed("the frame that garbage may take"))


def answers_to(data: bytes) -> Answers:
    """Return how often each id has to be answered when *data* has been read."""
    expected: Answers = collections.Counter()
    for frame in FrameParser().feed(data):
        asks = NULL if isinstance(frame, BadFrame) else _asks(frame)
        if asks is not None:
            expected[asks] += 1
    return expected


def _asks(body: bytes) -> str | None:
    """Return the id that a body has to be answered with, as JSON; None if it asks nothing."""
    try:
        message = json.loads(body.decode())
    except (ValueError, RecursionError):
        return NULL
    if not isinstance(message, dict):
        return NULL
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if "id" in message:
        return json.dumps(message["id"]) if type(message["id"]) in (int, str) else NULL
    sound = message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str)
    return None if sound else NULL


class Wire:
    """Stands for both descriptors: hands frames to the protocol while it reads, keeps answers."""

    over_high_water_mark = False

    def __init__(self) -> None:
        self.answered: Answers = collections.Counter()
        self.reading = asyncio.Event()

    def start(self) -> None:
        self.reading.set()

    resume = start

    def pause(self) -> None:
        self.reading.clear()

    def write(self, body: bytes, *, more: bool = False) -> None:
        self.answered[json.dumps(json.loads(body)["id"])] += 1


class Episode:
    """One server in process, from `initialize` to its end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._wire = Wire()
        self._parser = FrameParser()
        self._window = Window(lambda: LocalSessionService.open(":memory:"), 60)
        server = SessionServer(self._window, None)
        self._protocol = server.protocol
        self._protocol.connect(self._wire, self._wire)  # type: ignore[arg-type]
        self._received = bytearray()

    async def play(self, pieces: list[Piece]) -> None:
        await self._send(framed(request("first", "initialize", {"capabilities": {}})))
        for first in range(0, len(pieces), AT_ONCE):
            together = pieces[first : first + AT_ONCE]
            await self._send(b"".join(piece.data for piece in together))
        ended = any(piece.ends for piece in pieces)
        if not ended:
            await self._send(framed(request("last", "session/list")))
        await self._window.close()
        self._compare(pieces, ended)

    async def _send(self, data: bytes) -> None:
        self._received += data
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._feed(data), PATIENCE_S * 2)
        except TimeoutError:
            self._report.expect(False, "the protocol does not hang")
        except Exception as error:
            self._report.expect(False, "no frame crashes the protocol", repr(error))
        took = time.monotonic() - began
        self._report.expect(took < PATIENCE_S, "nothing takes two seconds", f"{took:.1f} s")

    async def _feed(self, data: bytes) -> None:
        await self._wire.reading.wait()
        self._protocol.receive(list(self._parser.feed(data)))
        await self._protocol.drain(PATIENCE_S)
        await asyncio.sleep(0)

    def _compare(self, pieces: list[Piece], ended: bool) -> None:
        expected = answers_to(bytes(self._received))
        compare(self._report, expected, self._wire.answered)
        must = {piece.asks for piece in pieces if piece.asks is not None}
        lost = must - set(self._wire.answered)
        self._report.expect(not lost, "no sound request is lost", f"{sorted(lost)[:3]}")
        if not ended:
            served = self._wire.answered['"last"'] == 1
            self._report.expect(served, "the protocol serves after all that")
        self._report.count("answers in process", self._wire.answered.total())
        self._report.count("sound requests in process", len(must))


def compare(report: Report, expected: Answers, got: Answers) -> None:
    """Note what was answered too often, or not often enough."""
    report.expect(
        not expected - got, "every request is answered", f"{list((expected - got).items())[:3]}"
    )
    report.expect(
        not got - expected, "nothing is answered twice", f"{list((got - expected).items())[:3]}"
    )


def episodes(generator: Generator, count: int) -> Iterator[list[Piece]]:
    """Yield *count* pieces in lists that each one server can read to its end."""
    episode: list[Piece] = []
    for piece in generator.pieces(count):
        episode.append(piece)
        if piece.ends or len(episode) == EPISODE:
            yield episode
            episode = []
    if episode:
        yield episode


async def in_process(report: Report, chance: Random) -> None:
    """Fuzz the reader and the protocol of this process."""
    for pieces in episodes(Generator(chance), IN_PROCESS[report.size]):
        report.count("frames in process", len(pieces))
        report.count("episodes in process")
        await Episode(report).play(pieces)


def over_stdio(report: Report, chance: Random) -> None:
    """Fuzz real servers, each by a client that waits for nothing before it has said everything."""
    with stage() as folder, quiet():
        for pieces in episodes(Generator(chance), OVER_STDIO[report.size]):
            report.count("frames over stdio", len(pieces))
            report.count("servers")
            client = CountingClient(folder)
            try:
                _one_server(report, client, pieces)
            except (ServerGoneError, TimeoutError, subprocess.TimeoutExpired) as error:
                report.expect(False, "the server serves to its end", repr(error))
                client.kill()


def _one_server(report: Report, client: CountingClient, pieces: list[Piece]) -> None:
    data = b"".join(piece.data for piece in pieces)
    ended = any(piece.ends for piece in pieces)
    client.initialize()
    client.write_bytes(data)
    began = time.monotonic()
    if not ended:
        client.write(request("last", "session/list"))
        client.answer("last")
    code = client.close_stdin()
    took = time.monotonic() - began
    report.expect(code == 0, "no frame crashes the server", f"exit code {code}")
    patience = PATIENCE_S + len(pieces) / 100
    report.expect(took < patience, "the server does not hang", f"{took:.1f} s")
    asked = collections.Counter({"1": 1}) + answers_to(data)
    if not ended:
        asked['"last"'] += 1
    compare(report, asked, client.arrived)
    report.count("answers over stdio", client.arrived.total())


def run(report: Report, chance: Random) -> None:
    """Fuzz in process, then over stdio."""
    # pygls names each unknown method in the log, which is right, and here the greater part.
    logging.getLogger("pygls").setLevel(logging.ERROR)
    asyncio.run(in_process(report, chance))
    over_stdio(report, chance)


if __name__ == "__main__":
    main(run)
