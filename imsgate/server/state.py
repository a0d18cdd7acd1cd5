"""The state directory, and one-line errors for files that cannot be written."""

import contextlib
import os
from collections.abc import Iterator

from imsgate import config
from imsgate.errors import BadConfig


@contextlib.contextmanager
def writing_to(path: str, option: str) -> Iterator[None]:
    """Raises BadConfig, naming ``option``, if the operating system refuses to write ``path``."""
    try:
        yield
    except OSError as error:
        raise BadConfig(option, f"{path} cannot be written: {error.strerror}") from error


def create_directory(conf: config.Config) -> None:
    """Create the state directory unless it exists. Raises BadConfig."""
    with writing_to(conf.state_path, "[DEFAULT] state_path"):
        os.makedirs(conf.state_path, mode=0o700, exist_ok=True)
