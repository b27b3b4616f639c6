"""Frames to bytes: written without blocking, small ones joined.

pygls' own writer stops the whole server while a client does not read.
"""

import asyncio

from segue.stdio.writer import ByteWriter

_SMALL = 4 * 1024
"""Frames up to this length are joined with those that follow, instead of written at once."""

_LARGE = 1024 * 1024


class FrameWriter(ByteWriter):
    """Writes bodies in frames, as `ByteWriter` writes bytes."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._joined: list[bytes] = []

    def send(self, body: bytes, *, more: bool = False) -> None:
        """Send *body* in a frame; with *more*, joined with the others of this loop iteration."""
        header = b"Content-Length: %d\r\n\r\n" % len(body)
        if len(body) > _LARGE:
            # Without a copy of the two together.
            self._send_joined()
            self.write(header, body)
            return
        frame = header + body
        if more and len(frame) <= _SMALL:
            if not self._joined:
                asyncio.get_running_loop().call_soon(self._send_joined)
            self._joined.append(frame)
            return
        self._send_joined()
        self.write(frame)

    def close(self, timeout: float) -> bool:
        """Send what is joined and buffered, as `ByteWriter.close` does."""
        self._send_joined()
        return super().close(timeout)

    def _send_joined(self) -> None:
        joined, self._joined = self._joined, []
        if joined:
            self.write(b"".join(joined))
