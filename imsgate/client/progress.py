"""How the progress of a transfer is shown: a bar, lines of JSON, or not at all."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

MODES = ("auto", "bar", "json", "none")
_JSON_SECONDS = 1.0


class ProgressDisplay(Protocol):
    """Shows one transfer. ``done`` and ``total`` are bytes of the image."""

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        """A new phase of the transfer."""

    def update(self, done: int, wire: int) -> None:
        """``wire`` counts the bytes that were sent or received since ``begin``."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def close(self) -> None:
        """Restore the terminal."""


def make(
    mode: str, image_id: Callable[[], str | None], stream: TextIO | None = None
) -> ProgressDisplay:
    """``auto`` is a bar on a terminal, and quiet elsewhere. Shown on standard error."""
    stream = stream or sys.stderr
    if mode == "json":
        return JsonLines(stream, image_id)
    if mode == "bar" or (mode == "auto" and stream.isatty()):
        return Bar(stream)
    return Quiet(stream if mode == "auto" else None)


class Quiet:
    """Notes only."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        pass

    def update(self, done: int, wire: int) -> None:
        pass

    def note(self, text: str) -> None:
        if self._stream is not None:
            print(f"imsgate: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        pass


class JsonLines:
    """A JSON object per line, at most one per second and one for each phase and note."""

    def __init__(
        self,
        stream: TextIO,
        image_id: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._image_id = image_id
        self._clock = clock
        self._phase: dict[str, Any] = {}
        self._begun = self._shown = 0.0
        self._first = 0

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        self._phase = {"phase": what, "total": total}
        self._begun, self._first = self._clock(), done
        self._show(done, 0)

    def update(self, done: int, wire: int) -> None:
        if self._clock() - self._shown >= _JSON_SECONDS or done == self._phase["total"]:
            self._show(done, wire)

    def _show(self, done: int, wire: int) -> None:
        self._shown = self._clock()
        rate = (done - self._first) / max(self._shown - self._begun, 1e-3)
        self._print({**self._phase, "done": done, "wire": wire, "rate": round(rate)})

    def note(self, text: str) -> None:
        self._print({"note": text})

    def _print(self, members: dict[str, Any]) -> None:
        line = {"image_id": self._image_id(), **members}
        print(json.dumps(line), file=self._stream, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """A bar with the rate, the time left, and the bytes on the wire."""

    def __init__(self, stream: TextIO) -> None:
        from rich import console, progress  # noqa: PLC0415 - takes a tenth of a second

        self._console = console.Console(file=stream)
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[wire]}"),
            console=self._console,
        )
        self._task: Any = None

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, completed=done, wire="")
        self._progress.start()

    def update(self, done: int, wire: int) -> None:
        self._progress.update(self._task, completed=done, wire=f"wire {_size(wire)}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
