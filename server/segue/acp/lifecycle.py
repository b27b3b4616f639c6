"""Serves one client and one agent until one of them ends, and stores what was said before."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from segue.acp.agent import AgentProcess
from segue.acp.connection import Connection
from segue.acp.proxy import RecordingProxy
from segue.acp.relay import Relay
from segue.stdio.watchdog import Watchdog
from segue.stdio.writer import ByteWriter

EXIT_TIMEOUT_S = 8.0
"""How long the end may take, whatever the agent and the disk do."""

# What is reserved of that time for the rest:
_AFTER_AGENT_S = 5.0
"""An agent that has not ended by then is ended, at first gently: that takes a second."""
_AFTER_DRAIN_S = 3.5
_AFTER_TASKS_S = 3.0
_AFTER_SAVING_S = 1.5
_AFTER_CLOSING_S = 1.0
_AFTER_FLUSH_S = 0.5


async def serve(
    relay: Relay,
    connection: Connection,
    agent: AgentProcess,
    writers: tuple[ByteWriter, ByteWriter],
    watchdog: Watchdog,
) -> int:
    """Carry messages until the client or the agent ends; return the agent's exit code.

    Everything that was said by then is stored.
    """
    to_client, to_agent = writers
    proxy = RecordingProxy(connection)
    relay.start(proxy)
    watchdog.notify(asyncio.get_running_loop(), relay.client_ended.set)
    await _first_of(relay.client_ended, relay.agent_ended)
    deadline = watchdog.begin_end()
    if not relay.agent_ended.is_set():
        await _until(deadline - _AFTER_AGENT_S, relay.client_drained())
        proxy.cancel_turns()
        # A thread that still writes may not find another file under the same descriptor.
        if await asyncio.to_thread(to_agent.close, _left(deadline - _AFTER_AGENT_S)):
            agent.close_input()
        await _until(deadline - _AFTER_AGENT_S, relay.agent_ended.wait())
    code = await asyncio.to_thread(agent.end, deadline - _AFTER_AGENT_S)
    await _until(deadline - _AFTER_DRAIN_S, relay.agent_ended.wait())
    connection.agent_ended()
    await _until(deadline - _AFTER_DRAIN_S, relay.agent_drained())
    proxy.flush()
    await _until(deadline - _AFTER_TASKS_S, connection.settled())
    await connection.saver.close(_left(deadline - _AFTER_SAVING_S))
    await _until(deadline - _AFTER_CLOSING_S, connection.window.close())
    await asyncio.to_thread(to_client.close, _left(deadline - _AFTER_FLUSH_S))
    return code


async def _first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(each.wait()) for each in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _until(deadline: float, work: Coroutine[Any, Any, object]) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=_left(deadline))
    if not task.cancel() and not task.cancelled():
        task.exception()  # nobody could do anything about it now


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
