"""Standard output whose errors can be told from all others."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OutputFailed(Exception):
    """Standard output cannot be written, for example because its disk is full.

    It is no OSError, which commands raise and handle for other files, and which argparse ignores.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output cannot be written: {cause.strerror or cause}")


class _Raw(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error) from error


@contextmanager
def checked() -> Iterator[None]:
    """In the block, ``sys.stdout`` raises BrokenPipeError and OutputFailed, also when the block
    ends. What cannot be written then is dropped."""
    given = sys.stdout
    # None if the caller has closed it; something else if it was replaced.
    if given is None or given is not sys.__stdout__ or not isinstance(given, io.TextIOWrapper):
        yield
        return
    given.flush()
    descriptor = given.fileno()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Raw(descriptor, "wb", closefd=False)),
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=given.line_buffering or given.write_through,
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, OutputFailed):
        # What is still buffered must not fail again at exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        raise
    finally:
        sys.stdout.flush()
        sys.stdout = given
