"""`imsgate token add` and `imsgate key add`: what they take."""

import pytest

from imsgate.cmd import main

WHO = {"--user": "u", "--project": "p", "--role": "member", "--days": "1"}


def run(command, state, **wrong):
    words = [word for pair in (WHO | wrong).items() for word in pair]
    return main.main([command, "add", "--state", str(state), *words])


@pytest.mark.parametrize("command", ["token", "key"])
class TestBoth:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *(("--days", days) for days in ("nan", "inf", "1e300", "36526", "0", "-1", "", "x")),
            *((name, value) for name in ("--user", "--project", "--role") for value in ("", " ")),
        ],
    )
    def test_what_means_nothing_is_refused(self, tmp_path, capsys, command, option, value):
        with pytest.raises(SystemExit) as ended:
            run(command, tmp_path, **{option: value})
        assert ended.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("days", ["0.5", "1e-9", "36525"])
    def test_days_may_be_few_or_many(self, tmp_path, command, days):
        assert run(command, tmp_path, **{"--days": days}) == 0

    def test_the_file_written_is_named(self, tmp_path, capsys, command):
        """A server with another state directory never sees it."""
        assert run(command, tmp_path) == 0
        output = capsys.readouterr()
        assert f" is in {tmp_path}/{command}s; a server with the same --state " in output.err
        assert str(tmp_path) not in output.out


def test_the_most_days_can_be_listed(tmp_path, capsys):
    run("key", tmp_path, **{"--days": "36525"})
    assert main.main(["key", "list", "--state", str(tmp_path)]) == 0
    assert " until 21" in capsys.readouterr().out
