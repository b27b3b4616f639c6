"""Malformed frames, for the parser and the protocol in process, and for real servers over stdio.

Only the frame directly after malformed bytes may be lost. Every other request gets exactly one
response, everything that is no valid message gets an error, and nothing hangs.
"""

import asyncio
import collections
import json
import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs

from segue.cli.client import ServerGoneError
from segue.lsp.framing.reader import BadFrame, FrameParser
from segue.lsp.server import SessionServer
from segue.lsp.transport import SessionProtocol
from segue.sessions.window import Window
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import CountingClient, Json, framed, request, sandbox, silent_stderr

IN_PROCESS: dict[Size, int] = {"short": 20_000, "long": 1_000_000}
OVER_STDIO: dict[Size, int] = {"short": 300, "long": 20_000}
PIECES_PER_SERVER = 250
PIECES_PER_READ = 40
MAX_HANDLING_S = 2.0
NULL = "null"
Responses = collections.Counter[str]
"""How many responses each id has or must have, by the JSON of the id."""

NO_CRASH = "no frame crashes the protocol"
NO_HANG = "the protocol does not hang"
FAST = f"nothing takes {MAX_HANDLING_S:.0f} seconds"
NO_LOSS = "no valid request is lost"
STILL_SERVING = "the protocol serves after all malformed frames"
ALL_RESPONSES = "every request gets a response"
NO_DUPLICATES = "no request gets two responses"
SERVER_SERVES = "the server serves to its end"
SERVER_EXIT = "no frame crashes the server"
SERVER_NO_HANG = "the server does not hang"

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
    """Bytes to send."""

    data: bytes
    request_id: str | None = None
    """The id, as JSON, of a valid request in a well-formed frame."""

    is_last: bool = False
    """Whether nothing after it can be read, because it claims all following bytes."""


class Generator:
    """Generates frames, well-formed and malformed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._ids = 0

    def pieces(self, count: int) -> Iterator[Piece]:
        """Yield *count* pieces; a malformed one contains the frame that may be lost with it."""
        for _ in range(count):
            if self._chance.random() < 0.6:
                yield self._well_formed()
            else:
                yield self._malformed()

    def _well_formed(self) -> Piece:
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
        # A lone surrogate has no UTF-8: it is sent as an escape or as a question mark.
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

    def _malformed(self) -> Piece:
        kinds = (
            self._flipped, self._no_message, self._no_message, self._truncated, self._bad_header,
            self._wrong_length, self._deep, self._no_json, self._cancel, self._doubled, self._huge,
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
        # Not near the interpreter's own limit, where the outcome depends on the caller's depth.
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

    def _doubled(self) -> Piece:
        return Piece(framed(self._request()) * 2)

    def _truncated(self) -> Piece:
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
        return Piece(b"Content-Length: %d\r\n\r\n" % length, is_last=True)

    def _resynchronised(self, data: bytes) -> Piece:
        """Return *data* followed by as much blank space as its Content-Length can claim."""
        # The longest claim: a body of a thousand bytes whose first digit was flipped to a nine.
        filler = b"\n\n" + b" " * 10_000 + b"\r\n"
        return Piece(data + filler + framed("the frame that may be lost"))


def responses_to(data: bytes) -> Responses:
    """Return how many responses each id must get after *data* was read."""
    expected: Responses = collections.Counter()
    for frame in FrameParser().feed(data):
        response_id = NULL if isinstance(frame, BadFrame) else _response_id(frame)
        if response_id is not None:
            expected[response_id] += 1
    return expected


def _response_id(body: bytes | bytearray) -> str | None:
    """Return the id, as JSON, of the response to a body; None if it gets none."""
    try:
        message = json.loads(body.decode())
    except (ValueError, RecursionError):
        return NULL
    if not isinstance(message, dict):
        return NULL
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if "id" in message:
        return json.dumps(message["id"]) if _is_id(message["id"]) else NULL
    valid = message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str)
    return None if valid else NULL


def _is_id(value: Any) -> bool:
    return type(value) in (int, str) or (type(value) is float and math.isfinite(value))


class FakePipes:
    """Replaces the reader and the writer: keeps whether to read, and counts the responses."""

    over_high_water_mark = False
    is_discarding = False

    def __init__(self) -> None:
        self.responses: Responses = collections.Counter()
        self.reading = asyncio.Event()
        self.reading.set()

    def resume(self) -> None:
        self.reading.set()

    def pause(self) -> None:
        self.reading.clear()

    def send(self, body: bytes, *, more: bool = False) -> None:
        self.responses[json.dumps(json.loads(body)["id"])] += 1


class Conversation:
    """One server in process, from `initialize` to its end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._pipes: Any = FakePipes()
        self._parser = FrameParser()
        self._window = Window(lambda: LocalSessionService.open(":memory:"), 60)
        server = SessionServer(self._window, self._make_protocol)
        self._protocol = server.protocol
        self._received = bytearray()

    def _make_protocol(self, server: SessionServer) -> SessionProtocol:
        return SessionProtocol(
            server, self._pipes, self._pipes, database=None, watch_process=lambda *_: None
        )

    async def run(self, pieces: list[Piece]) -> None:
        await self._send(framed(request("first", "initialize", {"capabilities": {}})))
        for first in range(0, len(pieces), PIECES_PER_READ):
            together = pieces[first : first + PIECES_PER_READ]
            await self._send(b"".join(piece.data for piece in together))
        ended = any(piece.is_last for piece in pieces)
        if not ended:
            await self._send(framed(request("last", "session/list")))
        await self._window.close()
        self._compare(pieces, ended)

    async def _send(self, data: bytes) -> None:
        self._received += data
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._feed(data), MAX_HANDLING_S * 2)
        except TimeoutError:
            self._report.expect(False, NO_HANG)
        except Exception as error:
            self._report.expect(False, NO_CRASH, repr(error))
        took = time.monotonic() - began
        self._report.expect(took < MAX_HANDLING_S, FAST, f"{took:.1f} s")

    async def _feed(self, data: bytes) -> None:
        await self._pipes.reading.wait()
        self._protocol.receive(list(self._parser.feed(data)))
        await self._protocol.drain(MAX_HANDLING_S)
        await asyncio.sleep(0)

    def _compare(self, pieces: list[Piece], ended: bool) -> None:
        expected, responses = responses_to(bytes(self._received)), self._pipes.responses
        compare(self._report, expected, responses)
        valid = {piece.request_id for piece in pieces if piece.request_id is not None}
        lost = valid - set(responses)
        self._report.expect(not lost, NO_LOSS, f"{sorted(lost)[:3]}")
        if not ended:
            self._report.expect(responses['"last"'] == 1, STILL_SERVING)
        self._report.count("responses in process", responses.total())
        self._report.count("valid requests in process", len(valid))


def compare(report: Report, expected: Responses, got: Responses) -> None:
    """Report missing and surplus responses."""
    missing, surplus = expected - got, got - expected
    report.expect(not missing, ALL_RESPONSES, f"{list(missing.items())[:3]}")
    report.expect(not surplus, NO_DUPLICATES, f"{list(surplus.items())[:3]}")


def conversations(generator: Generator, count: int) -> Iterator[list[Piece]]:
    """Yield *count* pieces in lists, each for one server."""
    pieces: list[Piece] = []
    for piece in generator.pieces(count):
        pieces.append(piece)
        if piece.is_last or len(pieces) == PIECES_PER_SERVER:
            yield pieces
            pieces = []
    if pieces:
        yield pieces


async def in_process(report: Report, chance: Random) -> None:
    """Fuzz the parser and the protocol of this process."""
    for pieces in conversations(Generator(chance), IN_PROCESS[report.size]):
        report.count("frames in process", len(pieces))
        report.count("servers in process")
        await Conversation(report).run(pieces)


def over_stdio(report: Report, chance: Random) -> None:
    """Fuzz real servers. The client sends everything before it waits for a response."""
    with sandbox() as folder, silent_stderr():
        for pieces in conversations(Generator(chance), OVER_STDIO[report.size]):
            report.count("frames over stdio", len(pieces))
            report.count("servers over stdio")
            client = CountingClient(folder)
            try:
                _one_server(report, client, pieces)
            except (ServerGoneError, TimeoutError, subprocess.TimeoutExpired) as error:
                report.expect(False, SERVER_SERVES, repr(error))
                client.kill()


def _one_server(report: Report, client: CountingClient, pieces: list[Piece]) -> None:
    data = b"".join(piece.data for piece in pieces)
    ended = any(piece.is_last for piece in pieces)
    client.initialize()
    client.write_bytes(data)
    began = time.monotonic()
    if not ended:
        client.write(request("last", "session/list"))
        client.answer("last")
    code = client.close_stdin()
    took = time.monotonic() - began
    report.expect(code == 0, SERVER_EXIT, f"exit code {code}")
    limit = MAX_HANDLING_S + len(pieces) / 100
    report.expect(took < limit, SERVER_NO_HANG, f"{took:.1f} s")
    expected = collections.Counter({"1": 1}) + responses_to(data)
    if not ended:
        expected['"last"'] += 1
    compare(report, expected, client.responses)
    report.count("responses over stdio", client.responses.total())


def run(report: Report, chance: Random) -> None:
    """Fuzz in process, then over stdio."""
    # pygls logs each unknown method, and most methods here are unknown.
    logging.getLogger("pygls").setLevel(logging.ERROR)
    asyncio.run(in_process(report, chance))
    over_stdio(report, chance)


if __name__ == "__main__":
    main(run)
