"""What `--print-config` prints: settings of other programs, to be pasted."""

import json
from collections.abc import Mapping
from typing import TypeVar

from segue.cli.application import CommandError
from segue.cli.printing import print_line

T = TypeVar("T")


def find_client(clients: Mapping[str, T], client: str) -> T:
    """Return what *clients* has of *client*; raise CommandError if that is nothing."""
    if client not in clients:
        known = ", ".join(clients)
        raise CommandError(f"{client} is not a client that is known here. Known are {known}.")
    return clients[client]


def print_settings(text: str) -> None:
    """Print settings of several lines."""
    for line in text.splitlines():
        print_line(line)


def json_settings(where: str, value: object) -> str:
    """Return settings in JSON, below a comment that says where they belong."""
    return f"// {where}\n{json.dumps(value, indent=2, ensure_ascii=False)}"
