import asyncio
import contextlib
import os
import select
import socket
from collections.abc import AsyncIterator

import pytest

from segue.lsp.framing.reader import BadFrame, Frame, FrameParser
from segue.lsp.framing.writer import FrameWriter


class Backlog:
    """A writer whose client has 50 MiB left to read."""

    def __init__(self) -> None:
        self.unread, self._write = os.pipe()
        self.writer = FrameWriter(self._write)
        self.writer.start(lambda: None, lambda: None)
        for _ in range(50):
            self.writer.send(bytes(1 << 20))

    def read_all(self) -> int:
        """Read until nothing more comes; return how many bytes came."""
        os.set_blocking(self.unread, False)
        count = 0
        while select.select([self.unread], [], [], 0.2)[0]:
            count += len(os.read(self.unread, 1 << 20))
        return count

    def close(self) -> None:
        self.read_all()
        self.writer.close(1.0)
        os.close(self.unread)
        os.close(self._write)


@pytest.fixture
async def backlog() -> AsyncIterator[Backlog]:
    made = Backlog()
    yield made
    await asyncio.to_thread(made.close)


async def test_capacity_returns_when_the_client_reads(backlog: Backlog) -> None:
    capacity = asyncio.ensure_future(backlog.writer.wait_for_capacity())
    await asyncio.sleep(0.1)
    assert not capacity.done()

    await asyncio.to_thread(backlog.read_all)

    await asyncio.wait_for(capacity, 5)


async def test_a_discarding_writer_neither_waits_nor_buffers_more(backlog: Backlog) -> None:
    capacity = asyncio.ensure_future(backlog.writer.wait_for_capacity())
    await asyncio.sleep(0.1)
    backlog.writer.start_discarding()
    await asyncio.wait_for(capacity, 5)
    assert backlog.writer.is_discarding

    for _ in range(50):
        backlog.writer.send(bytes(1 << 20))

    assert await asyncio.to_thread(backlog.read_all) < 52 << 20
    assert not backlog.writer.is_discarding


async def test_a_hang_up_ends_the_wait_for_capacity() -> None:
    backlog = Backlog()
    capacity = asyncio.ensure_future(backlog.writer.wait_for_capacity())
    await asyncio.sleep(0.1)
    assert not capacity.done()

    os.close(backlog.unread)

    await asyncio.wait_for(capacity, 5)
    os.close(backlog._write)


class Connection:
    """A writer and its client, joined by a pipe or a socket."""

    def __init__(self, kind: str) -> None:
        self._closing = contextlib.ExitStack()
        if kind == "pipe":
            self.fd, self.server_fd = os.pipe()
            self._closing.callback(os.close, self.server_fd)
        else:
            ours, theirs = socket.socketpair()
            self._closing.enter_context(ours)
            self.fd, self.server_fd = theirs.detach(), ours.fileno()
        self.broken = asyncio.Event()
        self.writer = FrameWriter(self.server_fd)
        self.writer.start(self.broken.set, lambda: None)

    def received(self) -> list[bytes]:
        """Return the bodies that have come."""
        parser = FrameParser()
        found: list[Frame] = []
        while select.select([self.fd], [], [], 0.1)[0]:
            found += parser.feed(os.read(self.fd, 1 << 20))
        return [bytes(body) for body in found if not isinstance(body, BadFrame)]

    def hang_up(self) -> None:
        """Close the client's end."""
        os.close(self.fd)

    def close(self) -> None:
        """Close the writer."""
        self.writer.close(1.0)
        self._closing.close()


@pytest.fixture(params=["pipe", "socket"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    made = Connection(request.param)
    yield made
    made.close()


async def test_a_small_frame_is_written_synchronously(connection: Connection) -> None:
    connection.writer.send(b"1")
    assert connection.received() == [b"1"]


async def test_frames_written_with_more_are_joined(connection: Connection) -> None:
    connection.writer.send(b"1", more=True)
    connection.writer.send(b"2", more=True)
    assert connection.received() == []
    await asyncio.sleep(0)
    assert connection.received() == [b"1", b"2"]


async def test_joined_frames_keep_their_order(connection: Connection) -> None:
    large = bytes(1 << 20)
    connection.writer.send(b"1", more=True)
    connection.writer.send(large, more=True)
    connection.writer.send(b"2", more=True)
    connection.writer.send(b"3")
    assert await asyncio.to_thread(connection.received) == [b"1", large, b"2", b"3"]


async def test_no_frame_overtakes_the_queue(connection: Connection) -> None:
    connection.writer.close(1.0)
    not_started = FrameWriter(connection.server_fd)
    not_started.send(bytes(1 << 20))
    connection.received()  # the pipe has capacity again, but no thread writes the queue
    before = not_started._queued_bytes
    not_started.send(b"1")
    assert not_started._queued_bytes > before
    if not_started._socket is not None:
        not_started._socket.detach()
    if not_started._pipe is not None:
        os.close(not_started._pipe)


async def test_close_sends_joined_frames(connection: Connection) -> None:
    connection.writer.send(b"1", more=True)
    connection.writer.close(1.0)
    assert connection.received() == [b"1"]


async def test_a_slow_client_blocks_no_write_and_loses_nothing(connection: Connection) -> None:
    bodies = [b"%d " % number * 1_000 for number in range(1_000)]
    for body in bodies:
        connection.writer.send(body)
    assert await asyncio.to_thread(connection.received) == bodies


async def test_a_hang_up_is_reported(connection: Connection) -> None:
    connection.hang_up()
    connection.writer.send(b"1")
    await asyncio.wait_for(connection.broken.wait(), 5)
