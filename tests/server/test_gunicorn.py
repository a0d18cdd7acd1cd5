"""The workers of ``imsgate serve``: their connections, signals and shutdown."""

import contextlib
import os
import select
import signal
import subprocess
import sys

import pytest

from imsgate.config import Config
from imsgate.server.gunicorn import Server


def test_only_one_worker_reports_that_the_application_is_loaded():
    reports = []
    server = Server(
        *(lambda: None, lambda: reports.append(1)),
        **{"bind": "unix:x", "workers": 3, "threads": 1, "grace": 1, "conf": Config()},
    )
    for worker in range(3):
        server.report_loaded(worker)
    assert reports == [1]


#: A server whose workers report their process id, and whether boto3 is imported, right after the
#: fork. Then they wait for a byte.
HELD = """
import os, sys
report, resume, state, conf = sys.argv[1:]
from imsgate.cmd import main
from imsgate.server import gunicorn

class Held(gunicorn.Worker):
    def init_process(self):
        os.write(int(report), b"%d %d\\n" % (os.getpid(), "boto3" in sys.modules))
        os.read(int(resume), 1)
        super().init_process()

gunicorn.Worker = Held
sys.exit(main.main(["serve", "--workers", "1", "--bind", "127.0.0.1:0", "--state", state,
                    "--config-file", conf]))
"""


@contextlib.contextmanager
def held(tmp_path, conf=""):
    """Such a server: the pipe of its reports, the pipe that its workers wait for, and its log."""
    with contextlib.ExitStack() as stack:
        reports, report = os.pipe()
        wait, resume = os.pipe()
        stack.callback(os.close, reports)
        stack.callback(os.close, resume)
        (tmp_path / "conf").write_text(conf)
        command = [sys.executable, "-c", HELD, str(report), str(wait)]
        command += [str(tmp_path / "state"), str(tmp_path / "conf")]
        with open(tmp_path / "log", "w+b") as log:
            server = subprocess.Popen(
                command, stderr=log, pass_fds=(report, wait), start_new_session=True
            )
        os.close(report)  # so that the reports end when the server does
        os.close(wait)
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, signal.SIGKILL)
        yield reports, resume, tmp_path / "log"


@pytest.mark.gateway
def test_a_worker_that_has_just_been_forked_can_be_terminated(tmp_path):
    with held(tmp_path) as (reports, resume, log):
        first = int(os.read(reports, 99).split()[0])
        os.kill(first, signal.SIGTERM)
        os.write(resume, b"1")
        # A replacement shows that it has ended.
        assert select.select([reports], [], [], 60)[0], log.read_text()
        assert int(os.read(reports, 99).split()[0]) != first


#: A server whose worker has a job engine that needs threads to stop.
ENDING = """
import concurrent.futures, os, sys
report, state = sys.argv[1:]
from imsgate import app
from imsgate.cmd import main
from imsgate.server import gunicorn

class Ending:
    def stop(self):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(os.write, int(report), b"stopped").result()

class Worker(gunicorn.Worker):
    def run(self):
        app._stopping.append(Ending().stop)
        os.write(int(report), b"running")
        super().run()

gunicorn.Worker = Worker
sys.exit(main.main(["serve", "--workers", "1", "--bind", "127.0.0.1:0", "--state", state]))
"""


@pytest.mark.gateway
def test_jobs_are_handed_back_while_threads_can_be_started(tmp_path):
    """A job that writes to S3 needs some, and the interpreter's shutdown begins with theirs."""
    reports, report = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reports)
        command = [sys.executable, "-c", ENDING, str(report), str(tmp_path / "state")]
        with open(tmp_path / "log", "w+b") as log:
            server = subprocess.Popen(command, stderr=log, pass_fds=(report,))
        os.close(report)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        assert os.read(reports, 99) == b"running", (tmp_path / "log").read_text()
        server.terminate()
        assert os.read(reports, 99) == b"stopped", (tmp_path / "log").read_text()


STORE = "[DEFAULT]\nenabled_backends = far:s3\n"
BUCKETS = "[ims_buckets]\ndriver = s3\n"


@pytest.mark.gateway
@pytest.mark.parametrize("conf", [STORE, BUCKETS], ids=["store", "buckets"])
def test_workers_share_the_libraries_of_drivers(tmp_path, conf):
    with held(tmp_path, conf) as (reports, _, log):
        _, imported = os.read(reports, 99).split() or pytest.fail(log.read_text())
    assert imported == b"1"
