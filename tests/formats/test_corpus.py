"""Every image of the corpus: by the inspector, `imsgate inspect`, an upload and qemu-img."""

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
EACH_IMAGE = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)

LATE_CHECKS = {"truncated", "footer_mismatch"}
"""Their evidence is at the end of the stream."""


def is_refused_early(entry):
    """Whether the beginning of the file is sufficient to refuse it."""
    if entry.accept or entry.name in ("iso-and-vhd", "vhd-kind-7") or "fixed" in entry.name:
        return False
    return bool((REFUSED & set(entry.findings)) - LATE_CHECKS)


def inspect(path, declared, chunk_bytes=1 << 16, *, keep_going=True):
    """The image's properties, the verdict, and the number of bytes fed before the verdict."""
    inspection = Inspector().begin(declared, keep_going=keep_going)
    fed_bytes = 0
    try:
        with path.open("rb") as file:
            while data := file.read(chunk_bytes):
                fed_bytes += len(data)
                inspection.feed(data)
        inspection.finish()
    except errors.BadImage:
        return inspection.partial_info(), "refuse", fed_bytes
    return inspection.partial_info(), "accept", fed_bytes


def test_the_corpus_is_large_and_balanced():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names) >= 120
    assert sum(entry.accept for entry in ENTRIES) >= len(ENTRIES) / 3


@EACH_IMAGE
def test_an_inspection_agrees_with_the_manifest(entry, made):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    image_info, verdict, _ = inspect(path, row["disk_format"])
    result = {
        **row,
        "format": image_info.format,
        "virtual_size": image_info.virtual_size,
        "verdict": verdict,
        "findings": sorted(finding.check for finding in image_info.findings),
    }
    assert result == row
    assert all(finding.reason and finding.hint for finding in image_info.findings)


@pytest.mark.parametrize(
    "entry", list(filter(is_refused_early, ENTRIES)), ids=lambda entry: entry.name
)
def test_a_refusal_is_raised_early(entry, made):
    declared = entry.declared or entry.format
    _, verdict, fed_bytes = inspect(made(entry), declared, keep_going=False)
    assert verdict == "refuse"
    # The metadata of a VHDX is where its region table says.
    assert fed_bytes <= (3 << 20 if entry.format == "vhdx" else 1 << 20)


@EACH_IMAGE
def test_the_inspect_command_agrees_with_the_manifest(entry, made, capsys):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    status = main.main(["inspect", "--json", "--disk-format", row["disk_format"], str(path)])
    line = json.loads(capsys.readouterr().out)
    assert status == (0 if entry.accept else 1)
    assert line.pop("file") == str(path)
    assert sorted(finding["check"] for finding in line.pop("findings")) == row["findings"]
    assert line == {name: row[name] for name in ("format", "virtual_size", "verdict")}


@EACH_IMAGE
def test_an_upload_agrees_with_the_manifest(entry, made, gateway):
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    status, response, image = gateway.upload(path, row["disk_format"])
    if entry.accept:
        assert (status, image["status"]) == (204, "active"), response
        assert image["virtual_size"] == row["virtual_size"]
        assert image["size"] == path.stat().st_size
        return
    assert (status, image["status"]) == (415, "queued"), response
    assert response["reason"] in ("image_refused", "format_mismatch")
    assert response["check"] in entry.findings
    assert response["hint"]
    assert isinstance(response["offset"], int)


@EACH_IMAGE
def test_qemu_img_agrees_with_the_manifest(entry, made):
    workshop.need("qemu-img")
    path = made(entry)
    row = corpus.manifest_row(entry, path)
    format_option = ["-f", entry.qemu] if entry.qemu == "vpc" else []
    command = ["qemu-img", "info", "--output", "json", *format_option, str(path)]
    process = subprocess.run(command, check=False, capture_output=True)
    if process.returncode:
        assert not entry.accept, process.stderr
        return
    info = json.loads(process.stdout)
    if info["format"] != "raw":
        assert {"vpc": "vhd"}.get(info["format"], info["format"]) == row["format"]
        if "footer_mismatch" not in entry.findings:
            assert info["virtual-size"] == row["virtual_size"]
    elif entry.qemu == "raw":
        assert info["virtual-size"] == -(-path.stat().st_size // 512) * 512
        assert row["format"] in ("raw", "iso", "udf")
        assert row["virtual_size"] == path.stat().st_size
    else:
        # A format that qemu-img does not support, or supports only with -f.
        assert entry.qemu is None
        assert not entry.accept or entry.format in (
            *("zvhd", "zvhd2", "luks", "elf", "gzip", "lz4", "pe", "uimage", "dtb", "android-boot"),
        )


_BY_NAME = {entry.name: entry for entry in ENTRIES}
_CINDER_KEY = "cinder_encryption_key_id"


@pytest.mark.parametrize("name", ["raw-luks1", "raw-luks2", "raw-zeros"])
def test_an_encrypted_volume_from_cinder_is_accepted_as_raw(name, made, gateway):
    properties = {_CINDER_KEY: "5ad1c2b0-5a4f-4a29-8e0b-9f2b40a6f1ab"}
    status, response, image = gateway.upload(made(_BY_NAME[name]), "raw", **properties)
    assert (status, image["status"], image["disk_format"]) == (204, "active", "raw"), response


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        pytest.param("raw-luks1", {}, id="no-property"),
        pytest.param("raw-luks1", {_CINDER_KEY: ""}, id="empty-property"),
        pytest.param("qcow2-v3", {_CINDER_KEY: "5ad1c2b0"}, id="another-format"),
    ],
)
def test_only_the_luks_content_of_an_encrypted_volume_is_accepted(name, properties, made, gateway):
    entry = _BY_NAME[name]
    status, response, _ = gateway.upload(made(entry), "raw", **properties)
    assert (status, response["reason"]) == (415, "format_mismatch")
    assert f"disk_format to {entry.format}" in response["hint"]


@pytest.mark.parametrize(
    ("container", "name", "status"),
    [("ova", "other-ova", 1), ("ova", "qcow2-v3", 1), ("bare", "qcow2-v3", 0)],
)
def test_the_inspect_command_knows_containers(container, name, status, made, capsys):
    options = ["--disk-format", "qcow2", "--container-format", container]
    assert main.main(["inspect", "--json", *options, str(made(_BY_NAME[name]))]) == status
    checks = [finding["check"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert checks == {"other-ova": ["payload"], "ova": ["declared_format"]}.get(
        name if name == "other-ova" else container, []
    )


def test_files_in_a_directory_are_inspected(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.raw").write_bytes(bytes(512))
    (tmp_path / "two.gz").write_bytes(b"\x1f\x8b\x08")
    assert main.main(["inspect", "--json", str(tmp_path)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    verdicts = [(line["file"].removeprefix(str(tmp_path)), line["verdict"]) for line in lines]
    assert verdicts == [("/two.gz", "refuse"), ("/deep/one.raw", "accept")]


def test_file_names_that_are_not_text_are_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.raw"
    with open(path, "wb") as file:
        file.write(bytes(512))
    command = [sys.executable, "-m", "imsgate.cmd.main", "inspect", path]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    process = subprocess.run(command, env=env, capture_output=True, check=True)
    assert "/\ufffd.raw: accept".encode() in process.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["/nowhere/at/all"], id="missing"),
        pytest.param([], id="no-path"),
        pytest.param(["--disk-format", "qcwo2", "/dev/null"], id="unknown-format"),
    ],
)
def test_the_exit_status_for_misuse_and_unreadable_files_is_2(arguments, capsys):
    try:
        status = main.main(["inspect", *arguments])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert capsys.readouterr().err


def test_each_family_has_accepted_and_refused_images():
    def family(entry):
        return entry.name.split("-")[0]

    for name, members in itertools.groupby(ENTRIES, family):
        verdicts = {entry.verdict for entry in members}
        assert verdicts == {"accept", "refuse"} or name == "other"
