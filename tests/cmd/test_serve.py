"""``imsgate serve``: its arguments, and what it does once the application is loaded."""

import pytest

from imsgate.cmd import main, serve
from imsgate.server import gunicorn


@pytest.mark.parametrize(
    "argument", ["serve --workers", "serve --grace", "worker --threads", "stores check --size"]
)
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_numbers_below_one_are_refused(capsys, argument, number):
    with pytest.raises(SystemExit) as ended:
        main.main([*argument.split(), number])
    assert ended.value.code == 2
    assert argument.split()[-1] in capsys.readouterr().err


@pytest.mark.parametrize("address", ["9292", "localhost:", "localhost:http", "localhost:65536"])
def test_an_invalid_address_is_refused(capsys, address):
    with pytest.raises(SystemExit) as ended:
        main.main(["serve", "--bind", address])
    assert ended.value.code == 2
    assert f"'{address}' is not HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["", "rw", "1777", "888", "-66", "66", "0o660"])
@pytest.mark.parametrize("command", ["serve", "metrics"])
def test_an_invalid_mode_of_a_socket_is_refused(capsys, command, mode):
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--socket-mode", mode])
    assert ended.value.code == 2
    assert f"--socket-mode: {mode!r} is not three octal digits" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0600", 0o600), ("777", 0o777)])
def test_the_mode_of_a_socket(text, mode):
    assert main.parser().parse_args(["serve", "--socket-mode", text]).socket_mode == mode


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "old", ""])
def test_invalid_ages_are_refused(capsys, number):
    with pytest.raises(SystemExit) as ended:
        main.main(["stores", "sweep", "--age", number])
    assert ended.value.code == 2
    assert "--age" in capsys.readouterr().err


def test_options_that_nothing_reads_are_reported_once_the_application_is_loaded(
    tmp_path, monkeypatch, capsys, caplog
):
    (tmp_path / "conf").write_text("[snif]\naccept_qcow = false\n")
    monkeypatch.setattr(gunicorn.Server, "run", lambda self: self.report_loaded(None))
    # Both change what belongs to the whole process.
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)
    words = ["serve", "--config-file", str(tmp_path / "conf"), "--state", str(tmp_path / "state")]
    args = main.parser().parse_args(words)
    serve.run(args)
    assert "imsgate serves http://127.0.0.1:9292 " in capsys.readouterr().err
    places = [str(record.args[0]).rpartition(": ")[2] for record in caplog.records if record.args]
    assert "[snif]" in places
