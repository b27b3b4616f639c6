"""Renders conversations in a format without a store."""

from collections.abc import Iterable

from segue import exporting
from segue.exporting.blocks import Block
from segue.model.records import Session
from tests.exporting.conversations import INVOCATIONS, Said, session, stored


def blocks_of(format: str, events: Iterable[Said]) -> list[Block]:
    """Return *events* in the blocks in which *format* shows them."""
    module = exporting.load(format)
    blocks: list[Block] = []
    for event in stored(events):
        if blocks and module.continues(blocks[-1], event):
            blocks[-1].add(event)
        else:
            blocks.append(Block([event], INVOCATIONS))
    return blocks


def render(format: str, events: Iterable[Said], header: Session | None = None) -> str:
    """Return a conversation as a file."""
    module = exporting.load(format)
    texts, previous = [module.begin(header or session())], ""
    for block in blocks_of(format, events):
        text, previous = module.render(block, previous)
        texts.append(text)
    return "".join([*texts, module.end(previous)])
