"""The example packages: installed as an operator would, then seen, tried and tested."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


NAMES = ["tree", "ftp"]


@pytest.fixture(scope="module", params=NAMES)
def installed(request, tmp_path_factory):
    """An environment in which the example is installed, beside what is installed here."""
    place = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLES / f"imsgate-store-{request.param}", place / "source")
    target = place / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(source / "build", ignore_errors=True)
    # A path that is searched first, and not the source: what is tried was installed.
    paths = (str(target), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, paths))
    env = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(place / "cache")}
    return request.param, source, env


def run(env, *words, cwd):
    return subprocess.run(
        [sys.executable, *words], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("installed", ["tree"], indirect=True)
def test_the_example_is_a_driver_like_any_other(installed, tmp_path):
    _, _, env = installed
    (tmp_path / "tree").mkdir()
    (tmp_path / "c.conf").write_text(
        "[DEFAULT]\nenabled_backends = forest:tree\n[forest]\ntree_directory = tree\n"
    )
    listed = run(env, "-m", "imsgate.cmd.main", "stores", "drivers", cwd=tmp_path)
    assert "\ntree" in listed.stdout, listed.stderr
    words = ("-m", "imsgate.cmd.main", "stores", "check", "forest", "--config-file", "c.conf")
    checked = run(env, *words, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    sample = run(env, "-m", "imsgate.cmd.main", "config", "generate", cwd=tmp_path)
    assert "#tree_directory" in sample.stdout


def test_the_example_passes_its_own_tests(installed):
    name, source, env = installed
    (source / f"imsgate_store_{name}.py").unlink()
    done = run(env, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=source)
    assert done.returncode == 0, done.stdout[-8000:]
