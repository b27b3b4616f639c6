"""The bytes between a client and an agent: all of them go on, in their order.

What the agent says goes on before it is looked at, unless it has to be changed or held back. What
the client says is looked at first: a prompt is stored before the agent gets it. A fault of ours
never stops anything: then the bytes go on as they came.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from segue.acp.lines import Lane, Line, LineSplitter, LineWriter
from segue.acp.messages import Message, parse
from segue.model.told_history import TITLE_MARK
from segue.stdio.reader import ByteReader
from segue.stdio.writer import ByteWriter

Handled = bytes | None | Awaitable[bytes | None]
"""What goes on instead of a line, None for nothing, or what is to be awaited for it."""

_MAX_WAITING = 16 * 1024 * 1024
"""While more bytes wait to be handled, nothing is read on that side."""

_MAX_HELD = 64 * 1024
"""So many bytes of a line go on before its end is there."""

_COMMANDS, _TITLE = b"available_commands_update", TITLE_MARK.encode()
"""What stands in lines that are looked at before they go on, always."""


class Proxy(Protocol):
    """Knows what the messages mean."""

    @property
    def must_look(self) -> bool:
        """Whether something that the agent says has to be handled before it goes on."""

    def from_client(self, message: Message) -> Handled:
        """Return what the agent gets instead of a message of the client."""

    def from_agent(self, message: Message) -> Handled:
        """Return what the client gets instead of a message of the agent."""

    def observe_agent(self, message: Message) -> None:
        """Take in a message of the agent that has gone on already."""


class Relay:
    """Carries bytes both ways between two pairs of descriptors."""

    def __init__(
        self,
        client: tuple[ByteReader, ByteWriter],
        agent: tuple[ByteReader, ByteWriter],
        say: Callable[[str], None],
    ) -> None:
        """*say* is called with a sentence if something could not be looked at."""
        self._client_in, self._client_out = client
        self._agent_in, self._agent_out = agent
        self.to_client = LineWriter(self._client_out.write)
        self.to_agent = LineWriter(self._agent_out.write)
        self._say = say
        self._from_client = LineSplitter()
        self._from_agent = LineSplitter()
        self._client_lane = Lane(self._handle_client, self._resume)
        self._agent_lane = Lane(self._handle_agent, self._resume)
        self._gone_on = 0
        """How many bytes of a line that is not complete have gone on to the client."""
        self.client_ended = asyncio.Event()
        self.agent_ended = asyncio.Event()

    def start(self, proxy: Proxy) -> None:
        """Begin to read, and let *proxy* see what is said."""
        self._proxy = proxy
        self._client_out.start(self.client_ended.set, self._resume)
        self._agent_out.start(lambda: None, self._resume)
        self._client_in.start(self._on_client_data, self._on_client_end)
        self._agent_in.start(self._on_agent_data, self._on_agent_end)

    async def client_drained(self) -> None:
        """Wait until all that the client said was handled."""
        await self._client_lane.drained()

    async def agent_drained(self) -> None:
        """Wait until all that the agent said was handled."""
        await self._agent_lane.drained()

    # -- from the client -------------------------------------------------------------------------

    def _on_client_data(self, data: bytes) -> None:
        for line in self._from_client.feed(data):
            self._client_lane.add(line)
        self._pause()

    def _on_client_end(self) -> None:
        if self._from_client.pending_bytes:
            self._client_lane.add(Line(self._from_client.take_rest(), is_whole=False))
        self.client_ended.set()

    def _handle_client(self, line: Line) -> Awaitable[None] | None:
        return self._handle(line, self._proxy.from_client, self.to_agent)

    # -- from the agent --------------------------------------------------------------------------

    def _on_agent_data(self, data: bytes) -> None:
        if self._is_plain(data):
            # Most of what an agent says: nothing of ours comes before it.
            self.to_client.forward(data)
            for line in self._from_agent.feed(data):
                self._observe(line)
        else:
            self._on_other_agent_data(data)
        self._pause()

    def _is_plain(self, data: bytes) -> bool:
        """Return whether *data* is whole lines that go on before they are looked at."""
        is_whole = data.endswith(b"\n") and not self._from_agent.pending_bytes
        return is_whole and self._goes_first(data)

    def _on_other_agent_data(self, data: bytes) -> None:
        raw: list[Line] = []
        for line in self._from_agent.feed(data):
            if self._gone_on:
                self.to_client.forward(line.data[self._gone_on :])
                self._gone_on = 0
                self._observe(line)
            elif self._goes_first(line.data):
                raw.append(line)
            else:
                self._send_raw(raw)
                raw = []
                self._agent_lane.add(line)
        self._send_raw(raw)
        if self._from_agent.pending_bytes > _MAX_HELD and not self._must_look:
            unsent = self._from_agent.pending_bytes - self._gone_on
            # Of a long line only the new part is touched: it comes in many.
            rest = data if unsent <= len(data) else self._from_agent.rest
            self.to_client.forward(rest[len(rest) - unsent :])
            self._gone_on += unsent

    @property
    def _must_look(self) -> bool:
        return self._proxy.must_look or self._agent_lane.is_busy

    def _goes_first(self, data: bytes) -> bool:
        return not self._must_look and _COMMANDS not in data and _TITLE not in data

    def _send_raw(self, lines: list[Line]) -> None:
        if lines:
            self.to_client.forward(b"".join(line.data for line in lines))
            for line in lines:
                self._observe(line)

    def _on_agent_end(self) -> None:
        if self._from_agent.pending_bytes > self._gone_on:
            rest = self._from_agent.take_rest()[self._gone_on :]
            self._agent_lane.add(Line(rest, is_whole=False))
        self.agent_ended.set()

    def _handle_agent(self, line: Line) -> Awaitable[None] | None:
        return self._handle(line, self._proxy.from_agent, self.to_client)

    def _observe(self, line: Line) -> None:
        if (message := parse(line.data) if line.is_whole else None) is None:
            return
        try:
            self._proxy.observe_agent(message)
        except Exception as error:  # of any kind: it has gone on
            self._fail(error)

    # -- both ------------------------------------------------------------------------------------

    def _handle(
        self, line: Line, handle: Callable[[Message], Handled], out: LineWriter
    ) -> Awaitable[None] | None:
        message = parse(line.data) if line.is_whole else None
        if message is None:
            out.forward(line.data)
            return None
        try:
            handled = handle(message)
        except Exception as error:  # of any kind: the line goes on as it came
            self._fail(error)
            handled = line.data
        if handled is None or isinstance(handled, bytes):
            out.forward(handled or b"")
            return None
        return self._finish(handled, line, out)

    async def _finish(self, handled: Awaitable[bytes | None], line: Line, out: LineWriter) -> None:
        try:
            data = await handled
        except Exception as error:  # of any kind, as above
            self._fail(error)
            data = line.data
        out.forward(data or b"")

    def _fail(self, error: Exception) -> None:
        self._say(f"a message was passed on unseen: {type(error).__name__}: {error}")

    def _pause(self) -> None:
        if self._agent_out.over_high_water_mark or self._client_lane.waiting_bytes > _MAX_WAITING:
            self._client_in.pause()
        if self._client_out.over_high_water_mark or self._agent_lane.waiting_bytes > _MAX_WAITING:
            self._agent_in.pause()

    def _resume(self) -> None:
        self._client_in.resume()
        self._agent_in.resume()
        self._pause()
