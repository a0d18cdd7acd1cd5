import pytest

from imsgate import config


@pytest.fixture
def configured(tmp_path):
    def configured(text):
        path = tmp_path / "imsgate.conf"
        path.write_text(text)
        return config.Config([str(path)], str(tmp_path / "state"))

    return configured
