import pytest

from imsgate.config import Config


@pytest.fixture
def config_of(tmp_path):
    """A configuration of this text."""

    def make(text):
        file = tmp_path / "imsgate.conf"
        file.write_text(text)
        return Config([str(file)])

    return make
