"""What qemu-img can reach and use in the sandbox."""

import os
import pathlib
import socket
import subprocess

import pytest

from imsgate import errors
from imsgate.conversion import sandbox as sandboxes
from imsgate.conversion.converter import load
from imsgate.conversion.sandbox import RunLimits, Sandbox, name
from imsgate.conversion.settings import ConversionSettings, PluginSettings
from imsgate.errors import BadConfig
from tests.formats import workshop

MIB = 1 << 20
AMPLE = RunLimits(output=MIB, seconds=600)


def nothing():
    pass


def run(sandbox, *arguments, limits=AMPLE, files=(), check=nothing):
    return sandbox.run(arguments, files, limits, check)


def problem(sandbox, *arguments, **more):
    with pytest.raises(errors.ConversionFailed) as caught:
        run(sandbox, *arguments, **more)
    return caught.value.details["problem"]


def test_no_other_file_is_there(sandbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 512)
    secret.chmod(0o644)
    for path in (secret, "/etc/passwd", "/usr/bin/env", f"/proc/{os.getpid()}/environ"):
        assert pathlib.Path(path).exists()
        assert "No such file" in problem(sandbox, "info", "-f", "raw", str(path))


def test_a_backing_file_is_not_found(sandbox, scratch, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 512)
    image = tmp_path / "image"
    workshop.call("qemu-img", "create", "-qf", "qcow2", "-b", secret, "-F", "raw", image)
    with scratch.reservation() as space:
        file = space.file()
        file.write(image.read_bytes())
        convert = ("convert", "-f", "qcow2", "-O", "raw", name(file), name(space.file()))
        assert "No such file" in problem(sandbox, *convert, files=[file])


def test_there_is_no_network(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"nbd://127.0.0.1:{server.getsockname()[1]}"
        assert "Failed to connect" in problem(sandbox, "info", url)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("kind", ["bubblewrap", "limits"])
def test_the_output_is_limited(scratch, kind):
    workshop.need("qemu-img", "bwrap")
    sandbox = Sandbox(ConversionSettings(sandbox=kind))
    with scratch.reservation() as space:
        file = space.file()
        create = ("create", "-q", "-f", "raw", name(file))
        run(sandbox, *create, "1M", files=[file])
        assert os.fstat(file.fileno()).st_size == MIB
        assert problem(sandbox, *create, "1048577", files=[file])
        assert os.fstat(file.fileno()).st_size <= MIB


def test_memory_is_limited(scratch):
    workshop.need("qemu-img", "bwrap")
    sandbox = Sandbox(ConversionSettings(max_memory=256 << 20))
    with scratch.reservation() as space:
        file = space.file()
        file.truncate(MIB)
        bench = ("bench", "-f", "raw", "-c", "2", "-d", "1", "-s")
        run(sandbox, *bench, "64k", name(file), files=[file])
        assert problem(sandbox, *bench, "512M", name(file), files=[file])


#: A program in place of qemu-img that says who runs it and what it may use.
ABOUT = """#!/bin/sh
echo $(id -u) $(id -G) $(sed -n 's/^\\(NoNewPrivs\\|CapEff\\):\\t//p' /proc/self/status)
echo $(ulimit -Ht) $(ulimit -Hv) $(ulimit -Hf) $(ulimit -Hc) $(env | grep -v ^PWD)
"""


@pytest.fixture
def pretending(tmp_path, monkeypatch):
    """Put a script in place of qemu-img; it can only run without bubblewrap."""

    def place(text):
        program = pathlib.Path(tmp_path / "bin" / "qemu-img")
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
        for parent in list(program.parents)[: len(program.parents) - 2]:
            if os.geteuid() == 0 and parent.stat().st_uid == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        return Sandbox(ConversionSettings(sandbox="limits"))

    return place


def test_privileges_and_limits(pretending):
    said = run(pretending(ABOUT), limits=RunLimits(output=1024, seconds=9)).decode()
    who, limits = said.splitlines()
    if os.geteuid() == 0:
        assert who.startswith("65534 65534 "), "nobody, in no other group"
    assert who.endswith(f" {0:016x} 1")
    assert limits == f"9 {1 << 20} 2 0 LC_ALL=C"


HANGS = '#!/bin/sh\n[ "$1" = --version ] || exec sleep 600\n'


def test_time_is_limited(pretending):
    sandbox = pretending(HANGS)
    times = iter([0.0, 5.0, 9.0, 9.1])
    sandbox._clock = lambda: next(times)
    assert problem(sandbox, "x", limits=RunLimits(output=0, seconds=9)) == "it took longer than 9 s"


def test_it_ends_when_the_job_ends(pretending, monkeypatch):
    """Even if it ignores every signal that can be ignored."""
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            started.append(self)

    sandbox = pretending(HANGS)
    monkeypatch.setattr(sandboxes.subprocess, "Popen", Watched)

    def stop():
        raise errors.Cancelled(image_id="i")

    with pytest.raises(errors.Cancelled):
        run(sandbox, "x", check=stop)
    assert [process.returncode for process in started] == [-9]


# What refuses to start

ON = PluginSettings(image_import_plugins=["image_conversion"])


def refusal(plugins=ON, **options):
    with pytest.raises(BadConfig) as caught:
        load(plugins, ConversionSettings(**options))
    return str(caught.value)


def test_nothing_is_needed_without_conversion(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert load(PluginSettings(), ConversionSettings()) is None
    assert load(PluginSettings(image_import_plugins=["no_op"]), ConversionSettings()) is None


@pytest.mark.parametrize(
    ("missing", "key"),
    [
        ("qemu-img", "[image_import_opts] image_import_plugins"),
        ("prlimit", "[image_import_opts] image_import_plugins"),
        ("bwrap", "[image_conversion] sandbox"),
    ],
)
def test_a_missing_program_refuses_to_start(monkeypatch, missing, key):
    found = sandboxes.shutil.which
    which = lambda name: None if name == missing else found(name) or "/bin/true"  # noqa: E731
    monkeypatch.setattr(sandboxes.shutil, "which", which)
    assert refusal().startswith(f"{key}: the program {missing} is needed and not installed")


def test_a_sandbox_that_is_forbidden_refuses_to_start(tmp_path, monkeypatch):
    workshop.need("qemu-img")
    forbidden = tmp_path / "bwrap"
    forbidden.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create namespace' >&2\nexit 1\n"
    )
    forbidden.chmod(0o755)
    found = sandboxes.shutil.which
    which = lambda name: str(forbidden) if name == "bwrap" else found(name)  # noqa: E731
    monkeypatch.setattr(sandboxes.shutil, "which", which)
    monkeypatch.setattr(sandboxes.os, "geteuid", lambda: 1)  # nobody cannot read tmp_path
    assert refusal() == "[image_conversion] sandbox: bwrap: No permissions to create namespace"


def test_options_that_cannot_work(tmp_path):
    workshop.need("qemu-img", "bwrap")
    assert refusal(PluginSettings(), on_upload=True).startswith("[image_conversion] on_upload: ")
    file = tmp_path / "file"
    file.touch()
    assert refusal(scratch_dir=str(file)).startswith("[image_conversion] scratch_dir: ")
    if os.geteuid() == 0:
        assert refusal(user="root").startswith("[image_conversion] user: ")
        assert refusal(user="no-such-user").startswith("[image_conversion] user: ")
