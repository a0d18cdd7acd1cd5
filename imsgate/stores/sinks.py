"""Objects that are being written: a part of the store contract, which ``base`` introduces."""

import abc
import types
from typing import Self


class Sink(abc.ABC):
    """An object that is being written.

    It is a context manager: leaving the block without ``commit`` aborts the attempt.
    """

    @abc.abstractmethod
    def write(self, chunk: bytes) -> None:
        """Append ``chunk``.

        Raises StoreFull, StoreUnavailable or StoreDenied. After such a failure ``commit`` fails
        too.
        """

    @abc.abstractmethod
    def commit(self) -> str:
        """Make the object visible, complete and durable, and return its location.

        A second call does nothing and returns the same location. Raises StoreFull,
        StoreUnavailable or StoreDenied; then nothing is visible. It also raises one of them
        after ``abort`` and after the attempt was discarded.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """End the attempt and remove everything that it wrote.

        May be called at any time and any number of times. After ``commit`` it does nothing. It
        never raises.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.abort()


class ResumableSink(Sink):
    """A sink whose attempt can be continued later, in any process: see ``abilities.Resumable``.

    Leaving the block without ``commit`` or ``suspend`` aborts the attempt. A failed ``write``
    does not: ``suspend`` may follow and keeps what was written before. If the sink is fenced
    off, ``suspend`` and ``commit`` raise StoreUnavailable and ``abort`` does nothing. ``write``
    raises it too, unless it only collects bytes in memory.
    """

    @abc.abstractmethod
    def suspend(self) -> int:
        """Make everything written durable, end this sink, and return the durable size in bytes.

        The attempt stays, and ``Resumable.resume`` continues it. The sink has ended even if this
        raises: ``write``, ``commit`` and ``suspend`` fail, and ``abort`` does nothing. May keep
        fewer bytes than were written and then returns that number, but never fewer than the
        offset at which this sink began. Raises StoreFull, StoreUnavailable or StoreDenied; then
        ``Resumable.durable`` tells what is there. Also raises one of them after ``abort``, after
        ``commit``, and after the attempt was discarded.
        """
