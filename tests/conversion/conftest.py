"""A converter with the sandbox of this machine."""

import os
import pathlib
import shutil

import pytest

from imsgate.conversion.converter import Converter
from imsgate.conversion.sandbox import Sandbox
from imsgate.conversion.scratch import Scratch
from imsgate.conversion.settings import ConversionSettings
from tests.formats import workshop


@pytest.fixture
def scratch(tmp_path: pathlib.Path) -> Scratch:
    return Scratch(str(tmp_path / "scratch"), 0)


@pytest.fixture
def sandbox() -> Sandbox:
    workshop.need("qemu-img", "bwrap")
    return Sandbox(ConversionSettings())


@pytest.fixture
def converter(request: pytest.FixtureRequest, scratch: Scratch, sandbox: Sandbox) -> Converter:
    """One that makes raw images, or what the test's parameter ``output`` says."""
    output = request.node.callspec.params.get("output", "raw") if _has_params(request) else "raw"
    return Converter(ConversionSettings(output_format=output), scratch, sandbox)


def _has_params(request: pytest.FixtureRequest) -> bool:
    return hasattr(request.node, "callspec")


def files_in(scratch: Scratch) -> list[str]:
    """What is in the scratch directory besides the ledger."""
    return [name for name in os.listdir(scratch.directory) if name != "ledger"]


def spooled(space, path: pathlib.Path):
    """A scratch file with the content of ``path``."""
    file = space.file()
    with path.open("rb") as original:
        shutil.copyfileobj(original, file)
    return file
