import asyncio
import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.lsp.framing.reader import (
    MAX_FRAME,
    BadFrame,
    Frame,
    FrameParser,
    FrameReader,
    has_hung_up,
)
from segue.lsp.framing.writer import FrameWriter


def parse(*chunks: bytes, longest: int = MAX_FRAME) -> list[Frame]:
    parser = FrameParser(longest)
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def one_by_one(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def problems(frames: list[Frame]) -> list[str]:
    return [frame.message for frame in frames if isinstance(frame, BadFrame)]


def bodies(frames: list[Frame]) -> list[bytes]:
    return [frame for frame in frames if isinstance(frame, bytes)]


GOOD = framed(b'{"good":1}')


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\n",
        b"content-length: 2\r\n",
        b"CONTENT-LENGTH:2\r\n",
        b"Content-Length:    2   \r\n",
        b"Content-Length:\t2\r\n",
        b"Content-Length: 2\n",
        b"Content-Length: 0002\r\n",
        b"X-Trace: a:b, c\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nX-Empty:\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf8\r\nContent-Length: 2\r\n",
        b"content-type: application/json; charset=UTF-8\r\nContent-Length: 2\r\n",
        b"Content-Type: application/vscode-jsonrpc\r\nContent-Length: 2\r\n",
        b'Content-Type: application/vscode-jsonrpc; charset="utf-8"\r\nContent-Length: 2\r\n',
        b'Content-Type: application/vscode-jsonrpc; charset="utf8"\r\nContent-Length: 2\r\n',
        b"Content-Type: application/vscode-jsonrpc; charset = utf-8\r\nContent-Length: 2\r\n",
        b"Content-Type:application/vscode-jsonrpc;charset=utf-8 \r\nContent-Length: 2\r\n",
    ],
)
def test_every_legal_spelling_is_read(headers: bytes) -> None:
    blank = b"\r\n" if headers.endswith(b"\r\n") else b"\n"
    message = headers + blank + b"{}"

    assert parse(message + GOOD) == [b"{}", b'{"good":1}']
    assert parse(*one_by_one(message + GOOD)) == [b"{}", b'{"good":1}']


def test_an_empty_body_is_a_frame() -> None:
    assert parse(framed(b"") + GOOD) == [b"", b'{"good":1}']


def test_many_frames_in_one_chunk_come_in_their_order() -> None:
    sent = [b'{"n":%d}' % n for n in range(1_000)]

    assert parse(b"".join(map(framed, sent))) == sent


def test_a_body_may_hold_line_ends_and_headers() -> None:
    body = b'{"a":\n1}\r\n\r\nContent-Length: 5\r\n\r\n'

    assert parse(framed(body) + GOOD) == [body, b'{"good":1}']


def test_nothing_is_yielded_before_a_frame_is_whole() -> None:
    assert parse(GOOD[:-1]) == []


def test_a_frame_over_the_cap_is_refused_and_passed_over() -> None:
    # What the refused frame holds must not be taken for frames of its own.
    long = framed(framed(b"[1]") * 20)

    for chunks in ([long + GOOD], one_by_one(long + GOOD)):
        refused, good = parse(*chunks, longest=100)
        assert isinstance(refused, BadFrame)
        assert "over 100" in refused.message
        assert good == b'{"good":1}'


def test_a_frame_of_exactly_the_cap_is_read() -> None:
    assert parse(framed(b"x" * 100), longest=100) == [b"x" * 100]


def test_a_length_beyond_all_memory_is_refused_at_once() -> None:
    (refused,) = parse(b"Content-Length: 9999999999\r\n\r\n")

    assert isinstance(refused, BadFrame)
    assert "9,999,999,999 bytes" in refused.message


def test_a_length_of_more_than_ten_digits_loses_no_later_frame() -> None:
    frames = parse(b'Content-Length: 100000000000\r\n\r\n{"x":1}\r\n' + GOOD)

    assert problems(frames) == ["a malformed header"]
    assert bodies(frames) == [b'{"good":1}']


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: ten\r\n\r\n",
        b"Content-Length: -2\r\n\r\n",
        b"Content-Length: 1.5\r\n\r\n",
        b"Content-Length: 0x10\r\n\r\n",
        b"Content-Length:\r\n\r\n",
        b"Content-Length 2\r\n\r\n",
        b"Content-Length: 100000000000\r\n\r\n",
        b"X-Other: 1\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"Content-Length: 2\r\nno header at all\r\n\r\n",
        b"\x00\xff\r\n\r\n",
    ],
)
@pytest.mark.parametrize("stray", [b"", b'{"jsonrpc":"2.0","id":1,"method":"m"}', b'"\xc3\xa9: "'])
def test_after_bad_headers_the_next_good_frame_is_read(headers: bytes, stray: bytes) -> None:
    for chunks in ([headers + stray + GOOD + GOOD], one_by_one(headers + stray + GOOD + GOOD)):
        frames = parse(*chunks)
        assert len(problems(frames)) == 1, "one bad frame is one answer"
        assert isinstance(frames[0], BadFrame)
        assert bodies(frames) == [b'{"good":1}', b'{"good":1}']


def test_conflicting_lengths_are_told_as_such() -> None:
    assert parse(b"Content-Length: 2\r\nContent-Length: 3\r\n") == [
        BadFrame("two different Content-Length headers")
    ]


def test_a_frame_without_a_length_is_told_as_such() -> None:
    assert parse(b"X-Other: 1\r\n\r\n") == [BadFrame("a frame without Content-Length")]


def test_each_bad_frame_between_good_ones_is_told() -> None:
    frames = parse((b"X-Other: 1\r\n\r\n" + GOOD) * 3)

    assert problems(frames) == ["a frame without Content-Length"] * 3
    assert len(bodies(frames)) == 3


def test_an_endless_header_line_is_refused_and_takes_no_memory() -> None:
    parser = FrameParser()
    told = [frame for _ in range(20) for frame in parser.feed(b"x" * 1_024 * 20)]

    assert told == [BadFrame("a header line is too long")]
    assert len(parser._buffer) < 32 * 1_024


@pytest.mark.parametrize("gap", [b"\r\n", b"\n", b""])
def test_after_an_endless_header_line_the_next_good_frame_is_read(gap: bytes) -> None:
    frames = parse(b"x" * 20_000, gap + GOOD)

    assert problems(frames) == ["a header line is too long"]
    assert bodies(frames) == [b'{"good":1}']


@pytest.mark.parametrize("charset", [b"latin-1", b'"latin-1"', b"utf-16", b"utf-80", b"ascii"])
def test_another_charset_is_refused_and_its_body_passed_over(charset: bytes) -> None:
    message = b"Content-Length: 2\r\nContent-Type: text/x; charset=%b\r\n\r\n{}" % charset

    assert parse(message + GOOD) == [BadFrame("the charset must be utf-8"), b'{"good":1}']


json_bodies = st.dictionaries(st.text(), st.integers() | st.text()).map(
    lambda value: json.dumps(value).encode()
)
garbage_lines = st.binary(max_size=60).filter(
    # Only these lines can be taken for a part of the frame that follows them.
    lambda line: b"\n" not in line and b"content-" not in line.lower()
)


@given(
    st.lists(
        st.one_of(st.tuples(st.just(True), json_bodies), st.tuples(st.just(False), garbage_lines)),
        max_size=20,
    ),
    st.integers(1, 50),
)
def test_no_good_frame_is_lost_among_garbage_lines(
    pieces: list[tuple[bool, bytes]], size: int
) -> None:
    stream = b"".join(framed(piece) if good else piece + b"\n" for good, piece in pieces)
    chunks = [stream[place : place + size] for place in range(0, len(stream), size)]

    frames = parse(*chunks)

    assert bodies(frames) == [piece for good, piece in pieces if good]
    assert frames == parse(stream), "chunks make no difference"


@given(st.binary(max_size=300).filter(lambda junk: b"content-" not in junk.lower()), json_bodies)
def test_any_bytes_lose_at_most_the_frame_that_they_run_into(junk: bytes, body: bytes) -> None:
    frames = parse(junk + GOOD + framed(body) + GOOD)

    assert bodies(frames)[-2:] == [body, b'{"good":1}']


@given(st.lists(st.sampled_from([b"Content-Length: ", b"7", b"\r\n", b"\n", b":", b"{}", b"\xff"])))
def test_the_parser_raises_for_no_bytes(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)

    assert parse(stream) == parse(*one_by_one(stream))


# -- a client that hangs up, or does not read --------------------------------------------------

needs_poll = pytest.mark.skipif(not hasattr(select, "poll"), reason="this system cannot tell")


class Line:
    """What a client writes to, and the descriptor that its server reads."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            self.fd, self._write = os.pipe()
            self.hang_up: Callable[[], None] = lambda: os.close(self._write)
            self.close: Callable[[], None] = lambda: os.close(self.fd)
            return
        ours, theirs = socket.socketpair()
        closing = contextlib.ExitStack()
        for end in (ours, theirs):
            closing.enter_context(end)
        self.fd, self._write = ours.fileno(), theirs.fileno()
        half = kind == "half of a socket"
        self.hang_up = (lambda: theirs.shutdown(socket.SHUT_WR)) if half else theirs.close
        self.close = closing.close

    def write(self, data: bytes) -> None:
        assert os.write(self._write, data) == len(data)


@pytest.fixture(params=["pipe", "socket", "half of a socket"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(request.param)
    yield made
    made.close()


@needs_poll
def test_a_client_that_has_more_to_say_has_not_hung_up(line: Line) -> None:
    assert not has_hung_up(line.fd)
    line.write(GOOD)
    assert not has_hung_up(line.fd)
    line.hang_up()
    assert has_hung_up(line.fd), "though what it said is not read yet"


@needs_poll
async def test_a_paused_reader_sees_the_end_behind_what_was_said(line: Line) -> None:
    frames: list[Frame] = []
    ended = asyncio.Event()

    def on_frames(found: list[Frame]) -> None:
        frames.extend(found)
        reader.pause()

    reader = FrameReader(line.fd, on_frames, ended.set)
    reader.start()
    reader.pause()
    line.write(GOOD * 2)
    await asyncio.sleep(0.4)
    assert frames == [], "it is paused, and nobody hung up"

    line.hang_up()
    # Whoever paces it does not know of the end.
    while not ended.is_set():
        reader.pause()
        await asyncio.sleep(0)

    assert bodies(frames) == [b'{"good":1}'] * 2


@needs_poll
async def test_a_reader_that_was_closed_looks_for_no_end() -> None:
    line = Line("pipe")
    ended = asyncio.Event()
    reader = FrameReader(line.fd, lambda frames: None, ended.set)
    reader.start()
    reader.pause()
    reader.close()
    line.hang_up()
    await asyncio.sleep(0.4)
    line.close()

    assert not ended.is_set()


async def test_what_is_read_out_is_waited_for_by_nobody_else(line: Line) -> None:
    frames: list[Frame] = []
    reader = FrameReader(line.fd, frames.extend, lambda: None)
    reader.start()
    line.write(GOOD)
    rescue = threading.Timer(1, line.write, [GOOD])
    rescue.start()
    # In the round in which the loop, too, is about to read what came.
    asyncio.get_running_loop().call_soon(reader.drain)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rescue.cancel()
    reader.close()

    assert bodies(frames) == [b'{"good":1}']


class Deaf:
    """A writer whose client has 50 MiB left to read."""

    def __init__(self) -> None:
        self.unread, self._write = os.pipe()
        self.writer = FrameWriter(self._write, lambda: None, lambda: None)
        for _ in range(50):
            self.writer.write(bytes(1 << 20))

    def listen(self) -> int:
        """Read until nothing more comes; return how many bytes came."""
        os.set_blocking(self.unread, False)
        count = 0
        while select.select([self.unread], [], [], 0.2)[0]:
            count += len(os.read(self.unread, 1 << 20))
        return count

    def close(self) -> None:
        self.listen()
        self.writer.close(1.0)
        os.close(self.unread)
        os.close(self._write)


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    made = Deaf()
    yield made
    await asyncio.to_thread(made.close)


async def test_there_is_room_again_when_the_client_reads(deaf: Deaf) -> None:
    room = asyncio.ensure_future(deaf.writer.room())
    await asyncio.sleep(0.1)
    assert not room.done()

    await asyncio.to_thread(deaf.listen)

    await asyncio.wait_for(room, 5)


async def test_a_writer_that_gave_up_waits_no_more_and_keeps_no_more(deaf: Deaf) -> None:
    room = asyncio.ensure_future(deaf.writer.room())
    await asyncio.sleep(0.1)
    deaf.writer.start_discarding()
    await asyncio.wait_for(room, 5)
    assert deaf.writer.is_discarding

    for _ in range(50):
        deaf.writer.write(bytes(1 << 20))

    assert await asyncio.to_thread(deaf.listen) < 52 << 20
    assert not deaf.writer.is_discarding


async def test_nobody_waits_for_a_client_that_is_gone() -> None:
    deaf = Deaf()
    room = asyncio.ensure_future(deaf.writer.room())
    await asyncio.sleep(0.1)
    assert not room.done()

    os.close(deaf.unread)

    await asyncio.wait_for(room, 5)
    os.close(deaf._write)


class Listener:
    """A client that reads what a writer sends, from a pipe or a socket."""

    def __init__(self, kind: str) -> None:
        self._closing = contextlib.ExitStack()
        if kind == "pipe":
            self.fd, self._write = os.pipe()
            self._closing.callback(os.close, self._write)
        else:
            ours, theirs = socket.socketpair()
            self._closing.enter_context(ours)
            self.fd, self._write = theirs.detach(), ours.fileno()
        self.broken = asyncio.Event()
        self.writer = FrameWriter(self._write, self.broken.set, lambda: None)

    def heard(self) -> list[bytes]:
        """Return the bodies that have come."""
        parser = FrameParser()
        found: list[Frame] = []
        while select.select([self.fd], [], [], 0.1)[0]:
            found += parser.feed(os.read(self.fd, 1 << 20))
        return [body for body in found if isinstance(body, bytes)]

    def hang_up(self) -> None:
        """Read no more, ever."""
        os.close(self.fd)

    def close(self) -> None:
        """End the writer."""
        self.writer.close(1.0)
        self._closing.close()


@pytest.fixture(params=["pipe", "socket"])
async def listener(request: pytest.FixtureRequest) -> AsyncIterator[Listener]:
    made = Listener(request.param)
    yield made
    made.close()


async def test_an_answer_is_there_when_write_returns(listener: Listener) -> None:
    listener.writer.write(b"1")
    assert listener.heard() == [b"1"]


async def test_answers_that_more_follow_come_together_and_soon(listener: Listener) -> None:
    listener.writer.write(b"1", more=True)
    listener.writer.write(b"2", more=True)
    assert listener.heard() == []
    await asyncio.sleep(0)
    assert listener.heard() == [b"1", b"2"]


async def test_nothing_overtakes_what_waits_for_more(listener: Listener) -> None:
    large = bytes(1 << 20)
    listener.writer.write(b"1", more=True)
    listener.writer.write(large, more=True)
    listener.writer.write(b"2", more=True)
    listener.writer.write(b"3")
    assert await asyncio.to_thread(listener.heard) == [b"1", large, b"2", b"3"]


async def test_nothing_overtakes_what_is_left_to_the_thread(
    monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    listener.writer.close(1.0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    halted = FrameWriter(listener._write, lambda: None, lambda: None)
    halted.write(bytes(1 << 20))
    listener.heard()  # there is room again, and the thread, which would use it, stands still
    before = halted._backlog
    halted.write(b"1")
    assert halted._backlog > before
    if halted._socket is not None:
        halted._socket.detach()
    if halted._pipe is not None:
        os.close(halted._pipe)


async def test_what_waits_for_more_is_sent_at_the_end(listener: Listener) -> None:
    listener.writer.write(b"1", more=True)
    listener.writer.close(1.0)
    assert listener.heard() == [b"1"]


async def test_a_client_that_reads_slowly_stops_nobody_and_loses_nothing(
    listener: Listener,
) -> None:
    bodies = [b"%d " % number * 1_000 for number in range(1_000)]
    for body in bodies:
        listener.writer.write(body)
    assert await asyncio.to_thread(listener.heard) == bodies


async def test_a_client_that_hung_up_is_noticed(listener: Listener) -> None:
    listener.hang_up()
    listener.writer.write(b"1")
    await asyncio.wait_for(listener.broken.wait(), 5)
