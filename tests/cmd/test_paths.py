"""A path that cannot be used ends any command with one line that names it."""

import pytest

from imsgate.cmd import main

GRANT = "add --user u --project p"
COMMANDS = {
    "token in a file": (f"token {GRANT} --state {{file}}", "[tokens] token_file: {file}/tokens "),
    "key in a file": (f"key {GRANT} --state {{file}}", "[aksk] key_file: {file}/keys "),
    "no key to remove": ("key remove A --state {file}", "[aksk] key_file: {file}/keys "),
    "a directory for the tokens": (
        f"token {GRANT} --state {{state}}",
        "token_file: {state}/tokens ",
    ),
    "a directory for the keys": (f"key {GRANT} --state {{state}}", "key_file: {state}/keys "),
    "a seal in a file": (
        f"key {GRANT} --state {{new}} --config-file {{seal}}",
        "seal_file: {file}/seal ",
    ),
    "a configuration that is a directory": ("db upgrade --config-file {state}", "config_file: "),
    "a configuration that is no text": (
        "db upgrade --config-file {binary}",
        "config_file: {binary}",
    ),
    "output in a file": ("config generate --output {file}/x", "--output: {file}/x "),
    "output to a directory": ("config generate --output {state}", "--output: {state} "),
}


@pytest.mark.parametrize(("command", "said"), COMMANDS.values(), ids=COMMANDS)
def test_it_is_named(tmp_path, capsys, command, said):
    places = {name: tmp_path / name for name in ("file", "state", "new", "seal", "binary")}
    places["file"].touch()
    for name in ("tokens", "keys"):
        (places["state"] / name).mkdir(parents=True)
    places["seal"].write_text(f"[aksk]\nseal_file = {places['file']}/seal\n")
    places["binary"].write_bytes(b"x = \xff\n")
    assert main.main(command.format(**places).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("imsgate: ")
    assert error.count("\n") == 1
    assert said.format(**places) in error
