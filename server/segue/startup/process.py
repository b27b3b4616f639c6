"""Prepares the process itself, before anything is read or opened: paths, descriptors, the clock."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_FIRST_FREE_DESCRIPTOR = 3
_EPOCH_YEAR = 1970
_LAST_NS = 2**63 - 1
"""April 2262, in nanoseconds: Python cannot express a later time."""

_LATE_NS = 2**63 - 2**60
"""In 2225: early enough for a server that runs into the limit."""


def prepare() -> None:
    """Make the environment of the process one in which the rest works. Called once, at the start.

    Under a locale that is not UTF-8 it starts the same program again.
    """
    _use_utf8_paths()
    _reserve_standard_descriptors()
    _limit_clock()


def finish(main: Callable[[], Any]) -> int:
    """Return the exit code of *main*, after all that it wrote has left the process.

    An OSError that reached the end is said in one sentence, and the code is 1 then. Without this,
    Python would complain at its own end about output that cannot be written.
    """
    try:
        code = main()
    except SystemExit as end:  # of a library that ends a process, such as argparse
        code = end.code
    except OSError as error:
        code = _failure(error)
    except KeyboardInterrupt:
        code = 1
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            code = code or (_failure(error) if descriptor == 1 else 0)
    return code if isinstance(code, int) else int(code is not None)


def say(sentence: str) -> None:
    """Write a sentence to stderr, where an editor logs it; it is lost if there is no room."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"segue: {sentence}\n")


def run_or_say(work: Callable[[], None]) -> int:
    """Return 0, or 1 after the CommandError that *work* raised was said."""
    from segue.cli.application import CommandError

    try:
        work()
    except CommandError as error:
        say(str(error))
        return 1
    return 0


def _failure(error: OSError) -> int:
    """Say why the process fails, unless the reader of its output has left; return the code."""
    if not isinstance(error, BrokenPipeError):
        named = error.filename is not None
        subject = repr(error.filename) if named else "the output cannot be written"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"Error: {subject}: {error.strerror}\n")
    return 1


def _use_utf8_paths() -> None:
    # A path is the same folder whatever the locale: else it would be stored in another spelling.
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or not sys.executable:
        return
    if "utf8" in sys._xoptions:  # it was asked for already, and did not help
        return
    program, *arguments = _command_line()
    if b"/" not in program:
        program = os.fsencode(sys.executable)
    os.execv(program, [program, b"-X", b"utf8", *arguments])  # noqa: S606  this very program


def _command_line() -> list[bytes]:
    try:
        # Not every locale's encoding gives back the bytes that Python decoded with it.
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().split(b"\0")[:-1]
    except OSError:
        return [os.fsencode(argument) for argument in sys.orig_argv]


def _reserve_standard_descriptors() -> None:
    # Else the database would get the number of a closed one, and what is printed be written there.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _FIRST_FREE_DESCRIPTOR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for good


def _limit_clock() -> None:
    # Python raises OverflowError beyond, wherever the time is read, even to log that.
    try:
        if time.time_ns() < _LATE_NS:
            return
    except OverflowError:
        pass
    read_ns = time.time_ns

    def limited_ns() -> int:
        try:
            return read_ns()
        except OverflowError:
            return 0 if time.gmtime().tm_year < _EPOCH_YEAR else _LAST_NS

    time.time_ns = limited_ns
    time.time = lambda: limited_ns() / 1e9
