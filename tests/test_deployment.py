"""The files in etc/ that others read: units of systemd, and the list of oslo.config's tools."""

import configparser
import os
import re
import shlex
import subprocess
import sys

import pytest
from oslo_config import validator

from imsgate.cmd import main
from tests.functional.conftest import needs_program
from tests.functional.gateway import IMSGATE, ROOT

UNITS = sorted((ROOT / "etc/systemd").glob("*.service"))
PROGRAM = "/opt/imsgate/bin/imsgate"


def setup_cfg():
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_exists(unit):
    (command,) = re.findall(r"^ExecStart=(.*)", unit.read_text(), re.M)
    program, *words = shlex.split(command)
    assert program == PROGRAM
    assert main.parser(words[0]).parse_args(words).run


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_a_unit_and_finds_it_hardened(unit, tmp_path):
    analyze = needs_program("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, IMSGATE))
    quiet = {**os.environ, "SYSTEMD_PAGER": "", "SYSTEMD_LOG_TARGET": "console"}
    verified = subprocess.run(
        [analyze, "verify", copy], env=quiet, capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    # The threshold is ten times the exposure, of which 100 is the worst.
    subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", copy],
        env=quiet,
        capture_output=True,
        check=True,
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_installed_and_described(unit):
    files = setup_cfg()["options.data_files"]
    assert f"etc/systemd/{unit.name}" in files["etc/imsgate/systemd"]
    assert unit.name in (ROOT / "doc/operators.md").read_text()


LIST = "etc/oslo-config-generator/imsgate.conf"


def test_the_validator_accepts_the_example_of_the_page(tmp_path, monkeypatch, caplog):
    page = (ROOT / "doc/operators.md").read_text()
    (example,) = re.findall(
        r"^```\n(\[DEFAULT\]\nenabled_backends = fast.*?)^```", page, re.M | re.S
    )
    command = re.search(r"^oslo-config-validator .*\\\n.*", page, re.M)[0].replace("\\\n", "")
    words = shlex.split(command)
    conf = tmp_path / "imsgate.conf"
    conf.write_text(example)
    words[words.index("/etc/imsgate/imsgate.conf")] = str(conf)
    assert LIST in words

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", words)
    assert validator.main() == 0
    conf.write_text(f"{example}[sniff]\nmax_rato = 5\n")
    caplog.clear()
    assert validator.main() == 1
    assert "sniff/max_rato is not part of the sample config" in caplog.text
