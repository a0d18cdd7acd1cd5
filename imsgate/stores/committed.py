"""What ``Resumable.resume`` returns for an attempt that was committed before."""

from imsgate import errors
from imsgate.stores.base import ResumableSink


class CommittedAttempt(ResumableSink):
    """The end of an attempt whose object exists already."""

    def __init__(self, store: str, location: str, size: int, offset: int) -> None:
        """``store`` is named in errors; ``size`` is the object's size in bytes.

        Raises StoreUnavailable if the caller wants to continue at another offset than the end.
        """
        if offset != size:
            problem = f"this attempt was committed with {size} bytes instead of {offset}"
            raise errors.StoreUnavailable(store=store, problem=problem)
        self._store = store
        self._location = location
        self._size = size

    def write(self, chunk: bytes) -> None:
        problem = "this attempt was committed"
        raise errors.StoreUnavailable(store=self._store, problem=problem)

    def suspend(self) -> int:
        return self._size

    def commit(self) -> str:
        return self._location

    def abort(self) -> None:
        pass
