"""``imsgate metrics`` without a server."""

import pytest

from imsgate.cmd import main
from imsgate.metrics import values


@pytest.fixture
def run(tmp_path, capsys):
    """Run it with this configuration; the status and what it printed."""

    def run(config, *arguments):
        path = tmp_path / "imsgate.conf"
        path.write_text(config)
        place = ["--config-file", str(path), "--state", str(tmp_path / "state")]
        status = main.main(["metrics", *place, *arguments])
        return status, *capsys.readouterr()

    return run


def test_a_gateway_in_front_of_another_service_has_no_records(run, tmp_path):
    values.end()
    values.begin(str(tmp_path / "state" / "metrics"))
    values.add((("imsgate_requests", "other", "PUT", "204"), 1))
    values.end()
    front = "[paste_deploy]\nflavor = front\n[forward]\nupstream = http://127.0.0.1:1\n"
    status, out, _ = run(front)
    assert status == 0
    assert 'imsgate_requests_total{method="PUT",route="other",status="204"} 1.0' in out
    assert "imsgate_database_up" not in out


def test_without_a_database_it_says_so(run):
    status, out, err = run("")
    assert (status, out) == (2, "")
    assert "[database] connection" in err


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:65536"])
def test_an_address_that_is_none(run, address):
    with pytest.raises(SystemExit):
        run("", "--bind", address)
