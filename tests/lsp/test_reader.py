import asyncio
import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.lsp.framing.reader import (
    MAX_FRAME,
    BadFrame,
    Frame,
    FrameParser,
    FrameReader,
)
from segue.stdio.reader import has_hung_up


def parse(*chunks: bytes, longest: int = MAX_FRAME) -> list[Frame]:
    parser = FrameParser(longest)
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def single_bytes(data: bytes) -> list[bytes]:
    return [data[offset : offset + 1] for offset in range(len(data))]


def faults(frames: list[Frame]) -> list[str]:
    return [frame.message for frame in frames if isinstance(frame, BadFrame)]


def bodies(frames: list[Frame]) -> list[bytes]:
    return [bytes(frame) for frame in frames if not isinstance(frame, BadFrame)]


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
def test_every_legal_header_spelling_is_parsed(headers: bytes) -> None:
    blank = b"\r\n" if headers.endswith(b"\r\n") else b"\n"
    message = headers + blank + b"{}"

    assert parse(message + GOOD) == [b"{}", b'{"good":1}']
    assert parse(*single_bytes(message + GOOD)) == [b"{}", b'{"good":1}']


def test_an_empty_body_is_a_frame() -> None:
    assert parse(framed(b"") + GOOD) == [b"", b'{"good":1}']


def test_frames_of_one_chunk_keep_their_order() -> None:
    sent = [b'{"n":%d}' % n for n in range(1_000)]

    assert parse(b"".join(map(framed, sent))) == sent


def test_a_body_may_contain_line_ends_and_headers() -> None:
    body = b'{"a":\n1}\r\n\r\nContent-Length: 5\r\n\r\n'

    assert parse(framed(body) + GOOD) == [body, b'{"good":1}']


def test_an_incomplete_frame_yields_nothing() -> None:
    assert parse(GOOD[:-1]) == []


def test_a_frame_over_the_limit_is_refused_and_skipped() -> None:
    # Frames inside the body of a refused frame must not be parsed.
    long = framed(framed(b"[1]") * 20)

    for chunks in ([long + GOOD], single_bytes(long + GOOD)):
        refused, good = parse(*chunks, longest=100)
        assert isinstance(refused, BadFrame)
        assert "over 100" in refused.message
        assert good == b'{"good":1}'


def test_a_frame_of_exactly_the_limit_is_parsed() -> None:
    assert parse(framed(b"x" * 100), longest=100) == [b"x" * 100]


def test_a_huge_length_is_refused_before_its_body_arrives() -> None:
    (refused,) = parse(b"Content-Length: 9999999999\r\n\r\n")

    assert isinstance(refused, BadFrame)
    assert "9,999,999,999 bytes" in refused.message


def test_a_length_of_over_ten_digits_loses_no_later_frame() -> None:
    frames = parse(b'Content-Length: 100000000000\r\n\r\n{"x":1}\r\n' + GOOD)

    assert faults(frames) == ["a malformed header"]
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
def test_the_frame_after_malformed_headers_is_parsed(headers: bytes, stray: bytes) -> None:
    for chunks in ([headers + stray + GOOD + GOOD], single_bytes(headers + stray + GOOD + GOOD)):
        frames = parse(*chunks)
        assert len(faults(frames)) == 1, "one bad frame is one fault"
        assert isinstance(frames[0], BadFrame)
        assert bodies(frames) == [b'{"good":1}', b'{"good":1}']


def test_conflicting_lengths_are_reported() -> None:
    assert parse(b"Content-Length: 2\r\nContent-Length: 3\r\n") == [
        BadFrame("two different Content-Length headers")
    ]


def test_a_missing_length_is_reported() -> None:
    assert parse(b"X-Other: 1\r\n\r\n") == [BadFrame("a frame without Content-Length")]


def test_each_bad_frame_is_reported() -> None:
    frames = parse((b"X-Other: 1\r\n\r\n" + GOOD) * 3)

    assert faults(frames) == ["a frame without Content-Length"] * 3
    assert len(bodies(frames)) == 3


def test_an_endless_header_line_is_refused_in_bounded_memory() -> None:
    parser = FrameParser()
    reported = [frame for _ in range(20) for frame in parser.feed(b"x" * 1_024 * 20)]

    assert reported == [BadFrame("a header line is too long")]
    assert len(parser._buffer) < 32 * 1_024


@pytest.mark.parametrize("gap", [b"\r\n", b"\n", b""])
def test_the_frame_after_an_endless_header_line_is_parsed(gap: bytes) -> None:
    frames = parse(b"x" * 20_000, gap + GOOD)

    assert faults(frames) == ["a header line is too long"]
    assert bodies(frames) == [b'{"good":1}']


@pytest.mark.parametrize("charset", [b"latin-1", b'"latin-1"', b"utf-16", b"utf-80", b"ascii"])
def test_another_charset_is_refused_and_its_body_skipped(charset: bytes) -> None:
    message = b"Content-Length: 2\r\nContent-Type: text/x; charset=%b\r\n\r\n{}" % charset

    assert parse(message + GOOD) == [BadFrame("the charset must be utf-8"), b'{"good":1}']


json_bodies = st.dictionaries(st.text(), st.integers() | st.text()).map(
    lambda value: json.dumps(value).encode()
)
garbage_lines = st.binary(max_size=60).filter(
    # Only such lines can be mistaken for headers of the frame that follows.
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
    chunks = [stream[offset : offset + size] for offset in range(0, len(stream), size)]

    frames = parse(*chunks)

    assert bodies(frames) == [piece for good, piece in pieces if good]
    assert frames == parse(stream), "chunks make no difference"


@given(st.binary(max_size=300).filter(lambda junk: b"content-" not in junk.lower()), json_bodies)
def test_garbage_loses_at_most_the_frame_that_follows_it(junk: bytes, body: bytes) -> None:
    frames = parse(junk + GOOD + framed(body) + GOOD)

    assert bodies(frames)[-2:] == [body, b'{"good":1}']


@given(st.lists(st.sampled_from([b"Content-Length: ", b"7", b"\r\n", b"\n", b":", b"{}", b"\xff"])))
def test_any_input_is_parsed_alike_in_any_chunks(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)

    assert parse(stream) == parse(*single_bytes(stream))


# -- reading -----------------------------------------------------------------------------------

needs_poll = pytest.mark.skipif(not hasattr(select, "poll"), reason="needs select.poll")


class Connection:
    """The client's end of a pipe or a socket, and the descriptor that the server reads."""

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
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    made = Connection(request.param)
    yield made
    made.close()


@needs_poll
def test_has_hung_up_despite_unread_data(connection: Connection) -> None:
    assert not has_hung_up(connection.fd)
    connection.write(GOOD)
    assert not has_hung_up(connection.fd)
    connection.hang_up()
    assert has_hung_up(connection.fd), "though not all is read yet"


@needs_poll
async def test_a_paused_reader_notices_a_hang_up_behind_unread_data(
    connection: Connection,
) -> None:
    frames: list[Frame] = []
    ended = asyncio.Event()

    def on_frames(found: list[Frame]) -> None:
        frames.extend(found)
        reader.pause()

    reader = FrameReader(connection.fd)
    reader.start(on_frames, ended.set)
    reader.pause()
    connection.write(GOOD * 2)
    await asyncio.sleep(0.4)
    assert frames == [], "it is paused, and the client has not hung up"

    connection.hang_up()
    # Backpressure does not know of the hang-up and keeps pausing.
    while not ended.is_set():
        reader.pause()
        await asyncio.sleep(0)

    assert bodies(frames) == [b'{"good":1}'] * 2


@needs_poll
async def test_a_closed_reader_reports_no_end() -> None:
    connection = Connection("pipe")
    ended = asyncio.Event()
    reader = FrameReader(connection.fd)
    reader.start(lambda frames: None, ended.set)
    reader.pause()
    reader.close()
    connection.hang_up()
    await asyncio.sleep(0.4)
    connection.close()

    assert not ended.is_set()


async def test_drain_leaves_no_pending_read_that_would_block(connection: Connection) -> None:
    frames: list[Frame] = []
    reader = FrameReader(connection.fd)
    reader.start(frames.extend, lambda: None)
    connection.write(GOOD)
    rescue = threading.Timer(1, connection.write, [GOOD])
    rescue.start()
    # In the round in which the loop itself is about to read the same data.
    asyncio.get_running_loop().call_soon(reader.drain)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rescue.cancel()
    reader.close()

    assert bodies(frames) == [b'{"good":1}']
