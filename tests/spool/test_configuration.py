"""A spool that cannot work."""

import pytest

from imsgate.errors import BadConfig
from imsgate.spool.application import Spooling
from imsgate.spool.seal import CredentialSeal


@pytest.mark.parametrize("name", ["missing", "whole"])
def test_the_store(name, fronts):
    with pytest.raises(BadConfig) as caught:
        fronts(backends="spool:memory, whole:glance", spool_store=name)
    assert caught.value.key == "[forward] spool_store"


@pytest.mark.parametrize("fault", ["mode", "content", "directory"])
def test_the_seal(fault, tmp_path):
    path = tmp_path / "seal"
    CredentialSeal(str(path))
    if fault == "mode":
        path.chmod(0o644)
    elif fault == "content":
        path.write_text("x")
    else:
        path = path / "below"
    with pytest.raises(BadConfig) as caught:
        CredentialSeal(str(path))
    assert caught.value.key == "[forward] spool_seal_file"


def test_the_seal_is_kept(tmp_path):
    path = str(tmp_path / "state" / "seal")
    sealed = CredentialSeal(path).close([("X-Auth-Token", "secret")])
    assert "secret" not in sealed
    assert CredentialSeal(path).open(sealed) == [("X-Auth-Token", "secret")]
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["seal"]


def test_the_factory_makes_it(tmp_path, monkeypatch):
    from imsgate.spool import application, factory  # noqa: PLC0415 - patched below

    started = []
    monkeypatch.setattr(application, "work_in_background", lambda *each: started.append(each))
    conf = tmp_path / "imsgate.conf"
    conf.write_text("[DEFAULT]\nenabled_backends = a:memory\n[glance_store]\ndefault_backend = a\n")
    with open(conf, "a") as file:
        file.write("[registry]\ndriver = memory\n[forward]\nupstream = http://a\nspool_store = a\n")
    made = factory.app_factory({"config_file": str(conf), "state_path": str(tmp_path)})
    assert isinstance(made, Spooling)
    assert started == [(made.spool, 4)]
