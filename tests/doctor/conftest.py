import itertools
import pathlib
import shutil
import tempfile

import pytest

from imsgate import config
from imsgate.doctor import checks, stores
from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.installation import Installation
from imsgate.registry.sql import schema
from imsgate.registry.sql.database import DatabaseSettings
from tests.functional.gateway import INI, ROOT


@pytest.fixture
def place():
    """A directory that every user may enter, unlike pytest's."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="imsgate-doctor-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def install(place, monkeypatch):
    """An installation with this configuration and, unless told otherwise, a migrated database."""
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)
    monkeypatch.setattr(stores, "_OBJECT_BYTES", 1 << 16)
    numbers, made = itertools.count(), []

    def make(text="", *, paste=None, tables=True):
        (place / "state").mkdir(mode=0o700, exist_ok=True)
        file = place / f"{next(numbers)}.conf"  # configurations are cached by name
        file.write_text(text.replace("{place}", str(place)))
        ini = place / "paste.ini"
        shipped = INI.read_text().replace("%(here)s", str(ROOT / "etc"))
        for old, new in (paste or {}).items():
            assert old in shipped
            shipped = shipped.replace(old, new)
        ini.write_text(shipped)
        global_conf = {"config_file": str(file), "state_path": str(place / "state")}
        conf = config.load(global_conf)
        if tables:
            schema.upgrade(conf.read(DatabaseSettings))
        made.append(Installation(conf, global_conf, str(ini)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def examine(install):
    """Run these checks, or all, on an installation with this configuration."""

    def run(text="", *names, **options):
        return list(checks.run(names or list(checks.CHECKS), install(text, **options)))

    return run


def wrong(findings):
    """The names and severities of what is wrong."""
    bad = (Severity.WARNING, Severity.ERROR)
    return [(each.check, str(each.severity)) for each in findings if each.severity in bad]
