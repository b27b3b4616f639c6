"""The SDK's own client with a real `segue mcp` behind it."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, ListToolsResult, TextContent

COMMAND = (sys.executable, "-m", "segue", "mcp")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a-test", "version": "1"},
    },
}


class McpClient:
    """A client that is connected."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def tools(self) -> ListToolsResult:
        return await self._session.list_tools()

    async def result(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Call a tool; return its text, and whether it is an error."""
        result = await self._session.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        (content,) = result.content
        assert isinstance(content, TextContent)
        return content.text, result.is_error

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool, which must succeed, and return its text."""
        text, is_error = await self.result(tool, arguments)
        assert not is_error, text
        return text

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool, which must fail, and return why."""
        text, is_error = await self.result(tool, arguments)
        assert is_error, text
        return text


@asynccontextmanager
async def connected(directory: Path, *options: str, **environment: str) -> AsyncIterator[McpClient]:
    """Yield a client of a server that was started in *directory*."""
    program, *arguments = (*COMMAND, *options)
    server = StdioServerParameters(
        command=program, args=arguments, cwd=directory, env={**os.environ, **environment}
    )
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield McpClient(session)


def start_raw(directory: Path, *, command: Sequence[str] = COMMAND) -> subprocess.Popen[bytes]:
    """Start a server with pipes, and return it when it has answered `initialize`."""
    process = subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert answer["result"]["serverInfo"]["name"] == "segue"
    return process
