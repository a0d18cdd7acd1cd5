"""``imsgate serve``: its arguments, its first start, and the end of its workers."""

import contextlib
import os
import select
import signal
import subprocess
import sys

import pytest

from imsgate import config
from imsgate.cmd import main, serve
from imsgate.errors import BadConfig
from imsgate.server import pastefile


@pytest.mark.parametrize(
    "argument", ["serve --workers", "serve --grace", "worker --threads", "stores check --size"]
)
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_numbers_that_mean_nothing(capsys, argument, number):
    with pytest.raises(SystemExit) as ended:
        main.main([*argument.split(), number])
    assert ended.value.code == 2
    assert argument.split()[-1] in capsys.readouterr().err


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "old", ""])
def test_ages_that_mean_nothing(capsys, number):
    with pytest.raises(SystemExit) as ended:
        main.main(["stores", "sweep", "--age", number])
    assert ended.value.code == 2
    assert "--age" in capsys.readouterr().err


def test_a_flavor_whose_extra_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keystoneauth1", None)
    monkeypatch.delitem(sys.modules, "imsgate.filters.authtoken", raising=False)
    (tmp_path / "conf").write_text("[paste_deploy]\nflavor = keystone\n")
    given = {"config_file": str(tmp_path / "conf"), "state_path": str(tmp_path / "state")}
    conf = config.load(given)
    with pytest.raises(BadConfig, match=r"imsgate\[keystone\]") as caught:
        serve.prepare(conf, pastefile.uri(conf, None), given)
    assert caught.value.key == "[paste_deploy] flavor"


@pytest.mark.parametrize(("bind", "announced"), [("127.0.0.1:9", 1), ("unix:/run/x", 0)])
def test_of_all_workers_one_announces_what_is_served_and_what_is_not_read(
    tmp_path, capsys, caplog, bind, announced
):
    (tmp_path / "admin-token").touch()
    (tmp_path / "conf").write_text("[snif]\naccept_qcow = false\n")
    args = main.parser().parse_args(["serve", "--bind", bind])
    given = {"config_file": str(tmp_path / "conf")}
    server = serve.Server("config:none#main", given, args, str(tmp_path))
    for worker in range(3):
        server.loaded(worker)
    assert capsys.readouterr().err.count("imsgate serves http://127.0.0.1:9, ") == announced
    assert [record.args[0].rpartition(": ")[2] for record in caplog.records] == ["[snif]"]


#: The server; its workers tell their id and what is imported when they are forked, and wait to
#: be let go on.
HELD = """
import os, sys
told, go_on, state, conf = sys.argv[1:]
from imsgate.cmd import main, serve

class Held(serve.Worker):
    def init_process(self):
        os.write(int(told), b"%d %d\\n" % (os.getpid(), "boto3" in sys.modules))
        os.read(int(go_on), 1)
        super().init_process()

serve.Worker = Held
sys.exit(main.main(["serve", "--workers", "1", "--bind", "127.0.0.1:0", "--state", state,
                    "--config-file", conf]))
"""


@contextlib.contextmanager
def held(tmp_path, conf=""):
    """Such a server: where it tells, where it waits, and its log."""
    with contextlib.ExitStack() as stack:
        told, tell = os.pipe()
        wait, go_on = os.pipe()
        stack.callback(os.close, told)
        stack.callback(os.close, go_on)
        (tmp_path / "conf").write_text(conf)
        command = [sys.executable, "-c", HELD, str(tell), str(wait)]
        command += [str(tmp_path / "state"), str(tmp_path / "conf")]
        with open(tmp_path / "log", "w+b") as log:
            server = subprocess.Popen(
                command, stderr=log, pass_fds=(tell, wait), start_new_session=True
            )
        os.close(tell)  # a server that has gone is the end of what is told
        os.close(wait)
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, signal.SIGKILL)
        yield told, go_on, tmp_path / "log"


def test_a_worker_that_has_just_been_forked_can_be_ended(tmp_path):
    with held(tmp_path) as (told, go_on, log):
        first = int(os.read(told, 99).split()[0])
        os.kill(first, signal.SIGTERM)
        os.write(go_on, b"1")
        # It has ended when it is replaced.
        assert select.select([told], [], [], 60)[0], log.read_text()
        assert int(os.read(told, 99).split()[0]) != first


#: A server whose worker has an engine that needs threads to end.
ENDING = """
import concurrent.futures, os, sys
told, state = sys.argv[1:]
from imsgate import app
from imsgate.cmd import main, serve

class Ending:
    def stop(self):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(os.write, int(told), b"ended").result()

class Worker(serve.Worker):
    def run(self):
        app._engines.append(Ending())
        os.write(int(told), b"runs")
        super().run()

serve.Worker = Worker
sys.exit(main.main(["serve", "--workers", "1", "--bind", "127.0.0.1:0", "--state", state]))
"""


def test_jobs_are_handed_back_while_there_are_threads(tmp_path):
    """Those that write into S3 use some, and the interpreter's end begins with theirs."""
    told, tell = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, told)
        command = [sys.executable, "-c", ENDING, str(tell), str(tmp_path / "state")]
        with open(tmp_path / "log", "w+b") as log:
            server = subprocess.Popen(command, stderr=log, pass_fds=(tell,))
        os.close(tell)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        assert os.read(told, 99) == b"runs", (tmp_path / "log").read_text()
        server.terminate()
        assert os.read(told, 99) == b"ended", (tmp_path / "log").read_text()


STORE = "[DEFAULT]\nenabled_backends = far:s3\n"
BUCKETS = "[ims_buckets]\ndriver = s3\n"


@pytest.mark.parametrize("conf", [STORE, BUCKETS], ids=["store", "buckets"])
def test_workers_share_the_libraries_of_drivers(tmp_path, conf):
    with held(tmp_path, conf) as (told, _, log):
        _, imported = os.read(told, 99).split() or pytest.fail(log.read_text())
    assert imported == b"1"
