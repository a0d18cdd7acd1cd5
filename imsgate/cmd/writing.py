"""Files and directories that commands make: what the system refuses is told in one line."""

import contextlib
import os
from collections.abc import Iterator

from imsgate import config
from imsgate.errors import BadConfig


@contextlib.contextmanager
def naming(key: str, path: str) -> Iterator[None]:
    """Raises BadConfig where the system refuses to write ``path``."""
    try:
        yield
    except OSError as error:
        raise BadConfig(key, f"{path} cannot be written: {error.strerror}") from error


def make_state(conf: config.Config) -> None:
    """The state directory, made where there is none. Raises BadConfig."""
    with naming("[DEFAULT] state_path", conf.state_path):
        os.makedirs(conf.state_path, mode=0o700, exist_ok=True)
