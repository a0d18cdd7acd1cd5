"""Repairs in processes that are killed: ``python -m tests.verification.kills DIRECTORY``.

Each line of the input names a step. A process begins a repair of the site in the directory and
kills itself at that step. Prints the signal that ended it.
"""

import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from imsgate.registry.base import Registry
from imsgate.registry.sql import SqlRegistry
from imsgate.stores.filesystem import FilesystemStore
from imsgate.stores.filesystem.sink import FileSink
from tests import databases
from tests.verification.site import Site


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str, applies: Callable[..., bool] = lambda *_, **__: True) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        if applies(*arguments, **named):
            _die()
        return original(*arguments, **named)

    setattr(owner, name, dying)


def _after(owner: Any, name: str, applies: Callable[..., bool] = lambda *_, **__: True) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if applies(*arguments, **named):
            _die()
        return result

    setattr(owner, name, dying)


def _swaps(*_: object, **to: Any) -> bool:
    return "locations" in to


#: Steps of a repair, in their order.
STEPS: dict[str, Callable[[], None]] = {
    "begun": lambda: _before(FilesystemStore, "create"),
    "first bytes": lambda: _after(FileSink, "write"),
    "before the commit": lambda: _before(FileSink, "commit"),
    "after the commit": lambda: _after(FileSink, "commit"),
    "before the swap": lambda: _before(SqlRegistry, "change_job", _swaps),
    "after the swap": lambda: _after(SqlRegistry, "change_job", _swaps),
    "after the removal": lambda: _after(FilesystemStore, "delete"),
}


def _registry(directory: pathlib.Path) -> Registry:
    url = f"sqlite:///{directory}/imsgate.sqlite"
    return SqlRegistry(databases.settings(url, directory))


def _steps() -> Iterator[str]:
    for line in sys.stdin:
        yield line.strip()


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    for step in _steps():
        pid = os.fork()
        if pid == 0:
            STEPS[step]()
            Site.new(directory, _registry(directory)).gate.engine.run_one()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.WTERMSIG(status), flush=True)


if __name__ == "__main__":
    main()
