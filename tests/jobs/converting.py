"""Workers that convert, as processes that can be killed.

``python -m tests.jobs.converting DIRECTORY NUMBER SECONDS`` kills workers at that many random
moments, each in the first so many seconds, and reports what they left.
"""

import collections
import contextlib
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import time

from imsgate import app
from imsgate.config import Config
from imsgate.conversion.sandbox import Sandbox
from imsgate.conversion.scratch import ScratchTap
from imsgate.services import load_services
from imsgate.stores.filesystem.sink import FileSink
from tests.api.people import PEOPLE, Person
from tests.formats import workshop
from tests.functional.gateway import make_database

CONFIG = """
[DEFAULT]
enabled_backends = fast:file
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
filesystem_thin_provisioning = true
[image_import_opts]
image_import_plugins = [image_conversion]
[image_conversion]
scratch_dir = {directory}/scratch
[jobs]
threads = 0
lease = 0.1
attempts = 1000
"""


#: The fork server that tests.functional.programs has told what to load.
_FORKS = multiprocessing.get_context("forkserver")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


#: Where a worker kills itself: while it receives the data, while qemu-img runs, and while it writes
#: the result.
MOMENTS = ("receiving", "converting", "storing")


def _kill_at(moment):
    run = Sandbox.run

    def dying(sandbox, arguments, files, limits, check, on_output=None):
        if arguments[0] == "convert":
            on_output = die
        return run(sandbox, arguments, files, limits, check, on_output or (lambda text: None))

    if moment == "receiving":
        ScratchTap.finish = die
    elif moment == "converting":
        Sandbox.run = dying
    elif moment == "storing":
        FileSink.commit = die


class Site:
    """A state directory with an image that waits for its import."""

    def __init__(self, directory):
        self.directory = directory
        self.config = directory / "imsgate.conf"
        if not self.config.exists():
            self.config.write_text(CONFIG.format(directory=directory))
            make_database(directory / "state", self.config)
        conf = Config([str(self.config)], str(directory / "state"))
        self.services = load_services(conf)
        self.owner = Person(app.make_application(self.services, conf), PEOPLE["owner"])

    def begin(self, data):
        """Stage an image and ask for its import; return its path."""
        path = self.owner.create(disk_format="qcow2", container_format="bare")
        assert (
            self.owner.put(
                f"{path}/stage", data, Content_Type="application/octet-stream"
            ).status_int
            == 204
        )
        body = {"method": {"name": "glance-direct"}}
        assert self.owner.post(f"{path}/import", body).status_int == 202
        return path

    def worker(self, moment=None):
        """Start a worker that does the job, or kills itself at this moment."""
        process = _FORKS.Process(target=_work, args=[self.directory, moment], daemon=True)
        process.start()
        return process

    def work(self):
        """Do the job, once the lease of the last worker has run out."""
        while not self.services.engine.run_one():
            time.sleep(0.01)

    def left(self):
        """Files in the scratch directory, and those without a name that a process has open."""
        scratch = self.directory / "scratch"
        names = [path.name for path in scratch.iterdir() if path.name != "ledger"]
        for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(f"{scratch}/"):
                    names.append(str(link))
        return names


def _work(directory, moment):
    _kill_at(moment)
    Site(directory).work()


def _kills(directory, number, longest):
    """Kill workers at random moments; then say what is left, and how the images ended."""
    workshop.converted("qcow2", size=64 << 20)(directory / "disk")
    data, site = (directory / "disk").read_bytes(), Site(directory)
    path, killed, statuses = site.begin(data), 0, collections.Counter()
    while killed < number:
        process = site.worker()
        process.join(random.uniform(0, longest))
        if process.exitcode is None:
            process.kill()
            killed += 1
        process.join()
        status = site.owner.get(path).json["status"]
        statuses[status] += 1
        if status != "importing":
            path = site.begin(data)
    site.work()
    statuses[site.owner.get(path).json["status"]] += 1
    print(f"{killed} kills; images after each: {dict(statuses)}; left: {site.left()}")


if __name__ == "__main__":
    _kills(pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
