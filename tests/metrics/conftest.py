import contextlib
import subprocess
import sys

import pytest

from imsgate.metrics import values


@pytest.fixture
def directory(tmp_path):
    """A directory in which this process may count."""
    values.end()
    yield str(tmp_path / "metrics")
    values.end()


@pytest.fixture
def processes(directory):
    """Runs the commands of tests.metrics.counting in processes that count in the directory."""
    command = [sys.executable, "-m", "tests.metrics.counting", directory]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def run(*lines):
            for line in lines:
                process.stdin.write(f"{line}\n")
                assert process.stdout.readline() == f"{line.split()[0]}\n"

        yield run
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
