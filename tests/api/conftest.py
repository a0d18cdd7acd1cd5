import pathlib
import tempfile
from collections.abc import Callable

import pytest

from imsgate import app
from tests.api.stack import CONFIG, Stack


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Callable[..., Stack]:
    """Start an application; ``policy`` is the text of its policy file."""

    def begin(policy: str | None = None, config: str = "") -> Stack:
        text = CONFIG + config
        if policy is not None:
            rules = tmp_path / "rules.yaml"
            rules.write_text(policy)
            text += f"\n[oslo_policy]\npolicy_file = {rules}\n"
        # A file of its own: one that was read is not read again in the same process.
        conf = pathlib.Path(tempfile.mkdtemp(dir=tmp_path)) / "imsgate.conf"
        conf.write_text(text)
        return Stack(app.app_factory({"config_file": str(conf), "state_path": str(tmp_path)}))

    return begin


@pytest.fixture
def stack(start: Callable[..., Stack]) -> Stack:
    return start()
