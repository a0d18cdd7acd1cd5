"""Commands whose output is read by a program that ends early, such as head."""

import signal
import subprocess
import sys

import pytest

COMMANDS = {
    "inspect": ["inspect", "disk.raw"],
    "inspect as JSON": ["inspect", "--json", "disk.raw"],
    "drivers": ["stores", "list"],
    "database": ["db", "upgrade", "--state", "state"],
    "token": ["token", "add", "--state", "state", "--user", "u", "--project", "p"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_pipe_ends_a_command_without_a_traceback(words, tmp_path):
    (tmp_path / "disk.raw").write_bytes(bytes(1024))
    command = [sys.executable, "-m", "imsgate.cmd.main", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE
