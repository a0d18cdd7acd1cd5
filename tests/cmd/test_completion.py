"""Completion scripts of shells."""

import argparse
import subprocess

import pytest

from imsgate.cmd import main
from tests.functional.conftest import needs_program

#: What the last word of a line becomes, in a directory with `disk.qcow2` and `state/`.
LINES = {
    "a command": ("imsgate ins", {"inspect"}),
    "an action": ("imsgate token ", {"add", "list", "remove"}),
    "an option": ("imsgate serve --wor", {"--workers"}),
    "an option of an action": ("imsgate db purge --dry", {"--dry-run"}),
    "a choice": ("imsgate inspect --container-format ov", {"ova", "ovf"}),
    "a file": ("imsgate inspect di", {"disk.qcow2"}),
    "the file of an option": ("imsgate serve --config-file di", {"disk.qcow2"}),
    "a directory": ("imsgate serve --state ", {"state"}),
    "nothing": ("imsgate token add --user ", set()),
}


def _script(shell, capsys):
    assert main.main(["completion", shell]) == 0
    return capsys.readouterr().out


def _commands(parser, words=()):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield (*words, name)
                yield from _commands(command, (*words, name))


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """A directory with the script for bash and files to complete."""
    directory = tmp_path_factory.mktemp("bash")
    with pytest.MonkeyPatch.context() as patch, open(directory / "script", "w") as script:
        patch.setattr("sys.stdout", script)
        assert main.main(["completion", "bash"]) == 0
    (directory / "disk.qcow2").touch()
    (directory / "state").mkdir()
    return directory


@pytest.mark.parametrize(("line", "completions"), LINES.values(), ids=LINES)
def test_bash_completes(line, completions, bash):
    command = needs_program("bash")
    words = line.split(" ")
    done = subprocess.run(
        [
            *(command, "--norc", "-c"),
            'source ./script; COMP_CWORD=$(($# - 1)) COMP_WORDS=("$@"); '
            '_shtab_imsgate imsgate "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; '
            'printf "%s\\n" "${COMPREPLY[@]}"',
            *("-", *words),
        ],
        cwd=bash,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (set(done.stdout.split()), done.stderr) == (completions, "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_has_every_command(shell, capsys):
    script = _script(shell, capsys)
    commands = list(_commands(main.parser()))
    assert ("token", "add") in commands
    for words in commands:
        assert f"_shtab_imsgate_{'_'.join(words).replace('-', '_')}_" in script, words


def test_other_shells_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["completion", "cmd.exe"])
    assert ended.value.code == 2
    assert "invalid choice: 'cmd.exe'" in capsys.readouterr().err
