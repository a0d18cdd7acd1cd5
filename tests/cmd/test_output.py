"""Commands whose output cannot be written, or whose reader ends early, such as head."""

import os
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

FULL = "imsgate: standard output cannot be written: No space left on device\n"
#: Whether Python buffers what is printed.
FAILING = {
    "inspect": (COMMANDS["inspect"], True),
    "inspect unbuffered": (COMMANDS["inspect as JSON"], False),
    "token": (COMMANDS["token"], True),
    "key": (["key", *COMMANDS["token"][1:]], True),
    "configuration": (["config", "generate"], False),
    "help": (["inspect", "--help"], False),  # argparse ignores what the system reports
}


@pytest.mark.parametrize(("words", "buffered"), FAILING.values(), ids=FAILING)
def test_a_full_disk_ends_a_command_with_one_line(words, buffered, tmp_path):
    (tmp_path / "disk.raw").write_bytes(bytes(1024))
    command = [sys.executable, "-m", "imsgate.cmd.main", *words]
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with open("/dev/full", "wb") as full:
        pipes = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(command, cwd=tmp_path, env=env, check=False, **pipes)
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_pipe_ends_a_command_without_a_traceback(words, tmp_path):
    (tmp_path / "disk.raw").write_bytes(bytes(1024))
    command = [sys.executable, "-m", "imsgate.cmd.main", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE
