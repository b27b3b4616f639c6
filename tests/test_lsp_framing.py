import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.lsp.framing import MAX_FRAME, BadFrame, Frame, FrameParser


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
