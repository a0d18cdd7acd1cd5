"""Workers that are killed while they convert."""

import pytest

from tests.conversion.conftest import need_sandbox
from tests.formats import workshop
from tests.formats.workshop import MIB
from tests.functional.gateway import eventually
from tests.jobs.converting import MOMENTS, Site


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    need_sandbox()
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("qcow2") / "disk"
    workshop.converted("qcow2")(path)
    return path.read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_worker_leaves_no_scratch_file(here, data, moment):
    path = here.begin(data)
    process = here.worker(moment)
    process.join()
    assert process.exitcode == -9
    assert here.owner.get(path).json["status"] == "importing"
    # qemu-img dies with its worker, and the data, which has no name, with both.
    eventually(lambda: len(here.left()) <= 1, "only the entry in the ledger is left")
    here.work()
    image = here.owner.get(path).json
    assert (image["status"], image["disk_format"]) == ("active", "raw")
    assert here.left() == []
    [stored] = (here.directory / "fast").glob(f"{image['id']}*")
    status = stored.stat()
    assert status.st_size == 10 * MIB
    assert status.st_blocks * 512 < 2 * MIB, "zeros are holes"
