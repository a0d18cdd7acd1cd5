"""`imsgate db upgrade` on a host where nothing is yet."""

import stat

from imsgate.cmd import main


def test_a_first_upgrade_makes_the_state_directory(tmp_path):
    state = tmp_path / "new" / "state"
    assert main.main(["db", "upgrade", "--state", str(state)]) == 0
    assert (state / "imsgate.sqlite").exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_state_directory_that_is_a_file_is_named(tmp_path, capsys):
    (tmp_path / "state").touch()
    assert main.main(["db", "upgrade", "--state", str(tmp_path / "state")]) == 2
    assert f"[DEFAULT] state_path: {tmp_path}/state" in capsys.readouterr().err


def test_a_file_that_cannot_be_made_is_named(tmp_path, capsys):
    file, conf = tmp_path / "nowhere" / "db.sqlite", tmp_path / "imsgate.conf"
    conf.write_text(f"[database]\nconnection = sqlite:///{file}\n")
    words = ["--state", str(tmp_path), "--config-file", str(conf)]
    assert main.main(["db", "upgrade", *words]) == 2
    assert f"{file}: unable to open" in capsys.readouterr().err
