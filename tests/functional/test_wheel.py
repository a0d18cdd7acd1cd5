"""The sdist and the wheel: what they contain, and the first upload from the wheel alone."""

import configparser
import contextlib
import glob
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile

import pytest

from imsgate.cmd import main
from tests import dockerfile, markers
from tests.functional.conftest import needs, needs_program
from tests.functional.gateway import HOST, PATIENCE, ROOT, clean_env, eventually, free_port

_, IMAGE = dockerfile.stages()

#: Where the README's commands expect the program, the state and the server.
_VENV, _STATE, _ADDRESS = ".venv", ".state", "127.0.0.1:9292"


@pytest.fixture(scope="module")
def files():
    """The paths of all files of the repository, below its root."""
    git = needs_program("git")
    needs((ROOT / ".git").exists(), "a git repository")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {path for path in listed.stdout.splitlines() if (ROOT / path).is_file()}


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    """A copy of the source tree with the sdist and the wheel that `make dist` builds."""
    tree = tmp_path_factory.mktemp("build") / "tree"
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tree / path)
    make, installed = needs_program("make"), f"{sys.prefix}/.test"
    subprocess.run(
        [make, "share", f"VENV={sys.prefix}", f"--old-file={installed}", "PYTHON=false"],
        cwd=tree,
        env=clean_env(tree.parent, PYTHONPATH=str(ROOT)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    done = subprocess.run(
        # Isolated, it would download setuptools.
        [sys.executable, "-m", "build", "--no-isolation", tree],
        env=clean_env(tree.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would be ignored" not in done.stdout + done.stderr
    return tree


@pytest.fixture(scope="module")
def wheel(built):
    (wheel,) = (built / "dist").glob("*.whl")
    return wheel


def test_the_sdist_has_every_file(files, built):
    (path,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        paths = {path.partition("/")[2] for path in sdist.getnames() if not path.endswith("/")}
    assert files - paths == set()
    assert not [path for path in paths if path.endswith((".pyc", ".sqlite"))]


def _data_files(tree):
    """The files of ``setup.cfg``, by where they are installed."""
    setup = configparser.ConfigParser()
    setup.read(tree / "setup.cfg")
    return {
        f"{directory}/{pathlib.Path(path).name}": (tree / path).read_bytes()
        for directory, patterns in setup["options.data_files"].items()
        for pattern in patterns.split()
        for path in glob.glob(pattern, root_dir=tree)
    }


def test_the_wheel_has_every_file_of_the_package(files, built, wheel):
    package = {path: (built / path).read_bytes() for path in files if path.startswith("imsgate/")}
    with zipfile.ZipFile(wheel) as archive:
        contents = {path: archive.read(path) for path in archive.namelist()}
    release = "-".join(wheel.name.split("-")[:2])
    data = {f"{release}.data/data/{path}": text for path, text in _data_files(built).items()}
    assert {
        path: text for path, text in contents.items() if not path.startswith(f"{release}.dist-info")
    } == {**package, **data}


def test_it_has_completion_scripts_and_a_manual_page(built):
    files = _data_files(built)
    page = files["share/man/man1/imsgate.1"].decode()
    version = importlib.metadata.version("imsgate")
    assert page.startswith('.TH IMSGATE "1" "')
    assert f'"imsgate {version}"' in page[:200]
    assert "imsgate \\- upload gateway" in page
    (commands,) = (action.choices for action in main.parser()._actions if action.choices)
    for command in commands:
        assert f"COMMAND \\fI\\,'imsgate {command}'\\/\\fR" in page
    for script in ("bash-completion/completions/imsgate", "zsh/site-functions/_imsgate"):
        assert b"_shtab_imsgate" in files[f"share/{script}"]


@pytest.fixture(scope="module")
def home(wheel, tmp_path_factory):
    """A directory with an environment that has the wheel, and the dependencies of the tests."""
    home = tmp_path_factory.mktemp("wheel")
    venv.create(home / _VENV, symlinks=True)
    python = home / _VENV / "bin/python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-index", "--no-deps", "--no-compile", wheel),
        ],
        env=clean_env(home),
        check=True,
    )
    (packages,) = (home / _VENV).glob("lib/python*/site-packages")
    # Files *.pth of that directory, such as one for an editable imsgate, have no effect.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = [python, "-c", "import imsgate; print(imsgate.__file__)"]
    module = subprocess.run(where, cwd=home, env=clean_env(home), capture_output=True, check=True)
    assert module.stdout.decode().startswith(str(packages))
    return home


def _blocks(section):
    """The commands of a section of the README."""
    text = (ROOT / "README.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _environment(home):
    """That of the Dockerfile, with the state below this directory."""
    variables = {name: value for name, value in IMAGE.env if name != "PATH"}
    variables["XDG_STATE_HOME"] = str(home / variables["XDG_STATE_HOME"].lstrip("/"))
    # The health check may not ask a proxy.
    return {**clean_env(home), **variables, "NO_PROXY": "", "http_proxy": "http://127.0.0.1:1"}


def _health_check(home, address):
    """Whether the health check of the Dockerfile finds the server healthy."""
    program, *words, code = json.loads(IMAGE["HEALTHCHECK"].partition("CMD ")[2])
    host, port = address.split(":")
    asked = re.sub(r"'127\.0\.0\.1', \d+", f"'{host}', {port}", code)
    assert asked != code
    command = [home / _VENV / "bin" / program, *words, asked]
    done = subprocess.run(command, env=_environment(home), capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def server(home):
    """What the Dockerfile runs, as installed from the wheel; yields its address."""
    markers.require("gateway")
    address = f"{HOST}:{free_port()}"
    words = json.loads(IMAGE["ENTRYPOINT"]) + json.loads(IMAGE["CMD"])
    words[words.index("--bind") + 1] = address
    assert not _health_check(home, address)
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [home / _VENV / "bin" / words[0], *words[1:], "--workers", "1"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=_environment(home),
        )

    def answers():
        assert process.poll() is None, (home / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(address.split(":")):
            return True

    try:
        # It imports everything from files that nothing has read yet.
        eventually(answers, "it answers", 4 * PATIENCE)
        assert _health_check(home, address)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in (home / "log").read_text()


def test_the_first_upload_of_the_readme(home, server):
    for program in ("bash", "curl"):
        needs_program(program)
    qemu_img = needs_program("qemu-img")
    create = next(
        line for line in _blocks("The first upload")[0].splitlines() if "qemu-img" in line
    )
    curl, inspect = _blocks("The first upload")[1:]
    script = f"set -e\n{create.replace('qemu-img', qemu_img)}\n{curl}{inspect}"
    for old, new in {
        _ADDRESS: server,
        _STATE: "var/lib/imsgate",
        f"{_VENV}/bin/imsgate": None,
    }.items():
        assert old in script
        script = script.replace(old, new or old)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env=clean_env(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
    assert re.search(r"^disk\.qcow2: .*accept", done.stdout, re.M), done.stdout
    with urllib.request.urlopen(f"http://{server}/ui/", timeout=PATIENCE) as page:
        assert b"<html" in page.read()


def test_what_pip_installs_for_a_user_is_found(tmp_path):
    """Its files lie below another directory than the interpreter."""
    paste = tmp_path / "etc/imsgate/imsgate-paste.ini"
    paste.parent.mkdir(parents=True)
    paste.touch()
    done = subprocess.run(
        [sys.executable, "-c", "from imsgate.server import pastefile; print(pastefile.find(None))"],
        env=clean_env(tmp_path, PYTHONPATH=str(ROOT), PYTHONUSERBASE=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    needs(not os.path.exists("/etc/imsgate/imsgate-paste.ini"), "no imsgate in /etc")
    assert done.stdout.strip() == str(paste)
