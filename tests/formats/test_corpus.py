"""Every file of the corpus, by every way in."""

import itertools
import json
import os
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.cmd import main
from imsgate.formats.inspector import REFUSED_CHECKS as REFUSED
from imsgate.formats.inspector import Inspector
from tests.formats import corpus, workshop

ENTRIES = corpus.entries()
EVERY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)

LATE = {"truncated", "footer_mismatch"}
"""What only the end of a stream can tell."""


def is_early(entry):
    """Whether the beginning of the file is enough to refuse it."""
    if entry.accept or entry.name in ("iso-and-vhd", "vhd-kind-7") or "fixed" in entry.name:
        return False
    return bool((REFUSED & set(entry.findings)) - LATE)


def judge(path, declared, chunk=1 << 16, *, patient=True):
    """Facts, verdict and the bytes that were fed before it fell."""
    inspection = Inspector().begin(declared, patient=patient)
    fed = 0
    try:
        with path.open("rb") as file:
            while data := file.read(chunk):
                fed += len(data)
                inspection.feed(data)
        inspection.finish()
    except errors.BadImage:
        return inspection.report(), "refuse", fed
    return inspection.report(), "accept", fed


def test_the_corpus_is_large_and_in_balance():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names) >= 120
    assert sum(entry.accept for entry in ENTRIES) >= len(ENTRIES) / 3


@EVERY
def test_the_gate_says_what_the_manifest_says(entry, made):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    facts, verdict, _ = judge(path, row["disk_format"])
    said = {
        **row,
        "format": facts.format,
        "virtual_size": facts.virtual_size,
        "verdict": verdict,
        "findings": sorted(finding.check for finding in facts.findings),
    }
    assert said == row
    assert all(finding.reason and finding.hint for finding in facts.findings)


@pytest.mark.parametrize("entry", list(filter(is_early, ENTRIES)), ids=lambda entry: entry.name)
def test_a_refusal_falls_early(entry, made):
    _, verdict, fed = judge(made(entry), entry.declared or entry.format, patient=False)
    assert verdict == "refuse"
    # the metadata of a VHDX stands where its region table says
    assert fed <= (3 << 20 if entry.format == "vhdx" else 1 << 20)


@EVERY
def test_inspect_says_what_the_gate_says(entry, made, capsys):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    status = main.main(["inspect", "--json", "--disk-format", row["disk_format"], str(path)])
    line = json.loads(capsys.readouterr().out)
    assert status == (0 if entry.accept else 1)
    assert line.pop("file") == str(path)
    assert sorted(finding["check"] for finding in line.pop("findings")) == row["findings"]
    assert line == {name: row[name] for name in ("format", "virtual_size", "verdict")}


@EVERY
def test_an_upload_ends_as_the_manifest_says(entry, made, gateway):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    status, answer, image = gateway.upload(path, row["disk_format"])
    if entry.accept:
        assert (status, image["status"]) == (204, "active"), answer
        assert image["virtual_size"] == row["virtual_size"]
        assert image["size"] == path.stat().st_size
        return
    assert (status, image["status"]) == (415, "queued"), answer
    assert answer["reason"] in ("image_refused", "format_mismatch")
    assert answer["check"] in entry.findings
    assert answer["hint"]
    assert isinstance(answer["offset"], int)


@EVERY
def test_qemu_img_has_the_same_opinion(entry, made):
    workshop.need("qemu-img")
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    told = ["-f", entry.qemu] if entry.qemu == "vpc" else []
    command = ["qemu-img", "info", "--output", "json", *told, str(path)]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        assert not entry.accept, done.stderr
        return
    said = json.loads(done.stdout)
    if said["format"] != "raw":
        assert {"vpc": "vhd"}.get(said["format"], said["format"]) == row["format"]
        if "footer_mismatch" not in entry.findings:
            assert said["virtual-size"] == row["virtual_size"]
    elif entry.qemu == "raw":
        assert said["virtual-size"] == -(-path.stat().st_size // 512) * 512
        assert row["format"] in ("raw", "iso", "udf")
        assert row["virtual_size"] == path.stat().st_size
    else:
        # a format that qemu-img does not know, or knows only when it is told
        assert entry.qemu is None
        assert not entry.accept or entry.format in ("zvhd", "zvhd2", "luks", "elf", "gzip")


def test_names_of_files_in_a_directory_are_inspected_too(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.raw").write_bytes(bytes(512))
    (tmp_path / "two.gz").write_bytes(b"\x1f\x8b\x08")
    assert main.main(["inspect", "--json", str(tmp_path)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [(line["file"].removeprefix(str(tmp_path)), line["verdict"]) for line in lines]
    assert found == [("/two.gz", "refuse"), ("/deep/one.raw", "accept")]


def test_names_that_are_no_text(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.raw"
    with open(path, "wb") as file:
        file.write(bytes(512))
    command = [sys.executable, "-m", "imsgate.cmd.main", "inspect", path]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert "/\ufffd.raw: accept".encode() in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["/nowhere/at/all"], id="missing"),
        pytest.param([], id="no-path"),
        pytest.param(["--disk-format", "qcwo2", "/dev/null"], id="no-such-format"),
    ],
)
def test_misuse_and_unreadable_files_are_status_2(arguments, capsys):
    try:
        status = main.main(["inspect", *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert capsys.readouterr().err


def test_families_have_good_and_bad():
    def family(entry):
        return entry.name.split("-")[0]

    for name, members in itertools.groupby(ENTRIES, family):
        verdicts = {entry.verdict for entry in members}
        assert verdicts == {"accept", "refuse"} or name == "other"
