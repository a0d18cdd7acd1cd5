"""Converts disk images that have passed the inspection."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import IO

from imsgate import errors
from imsgate.conversion.sandbox import RunLimits, Sandbox, name
from imsgate.conversion.scratch import Reservation, Scratch
from imsgate.conversion.settings import (
    CONVERSION,
    GROUP,
    ConversionSettings,
    PluginSettings,
)
from imsgate.errors import BadConfig

#: The formats that are converted: qemu-img's names by the canonical ones.
QEMU_NAMES = {
    "raw": "raw",
    "qcow": "qcow",
    "qcow2": "qcow2",
    "qed": "qed",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vmdk": "vmdk",
}

#: The output may exceed what qemu-img calculates for a qcow2: other formats have other tables.
_SLACK_RATIO, _SLACK_BYTES = 1024, 2 << 20

_PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")

Report = Callable[[float], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What a conversion will write, in bytes.

    ``needed`` is the space on the disk, ``expected`` the size of the file, about, and ``largest``
    the most that it may be.
    """

    needed: int
    expected: int
    largest: int


class Converter:
    """Converts images to ``output_format``."""

    def __init__(self, settings: ConversionSettings, scratch: Scratch, sandbox: Sandbox) -> None:
        self._settings = settings
        self._sandbox = sandbox
        self.scratch = scratch
        self.output_format = settings.output_format
        self.on_upload = settings.on_upload

    def converts(self, content: str) -> bool:
        """Whether content of this format, by its canonical name, is converted."""
        return content in QEMU_NAMES and content != self.output_format

    def measure(
        self, source: IO[bytes], content: str, limit: int, check: Callable[[], object]
    ) -> Measured:
        """How large the result will be. Raises TooLarge if that is more than ``limit`` bytes, and
        ConversionFailed."""
        # Only for qcow2 does it count the data: of a raw file, it returns the virtual size.
        needed, full = self._measured(source, content, "qcow2", check)
        expected = needed
        if self.output_format == "raw":
            expected, _ = self._measured(source, content, "raw", check)
        if expected > limit:
            raise errors.TooLarge(limit=limit)
        largest = full + full // _SLACK_RATIO + _SLACK_BYTES
        return Measured(
            needed=min(needed + _SLACK_BYTES, largest), expected=expected, largest=largest
        )

    def _measured(
        self, source: IO[bytes], content: str, output: str, check: Callable[[], object]
    ) -> tuple[int, int]:
        """The size with the data that there is, and with as much as the disk can hold."""
        formats = ["-f", QEMU_NAMES[content], "-O", output]
        arguments = ["measure", "--output=json", *formats, name(source)]
        found = json.loads(self._sandbox.run(arguments, [source], self._limits(output=0), check))
        return found["required"], found["fully-allocated"]

    def convert(
        self,
        source: IO[bytes],
        content: str,
        measured: Measured,
        space: Reservation,
        check: Callable[[], object],
        report: Report,
    ) -> IO[bytes]:
        """Convert the image in ``source``; return the file with the result.

        ``report`` is called with the part that is done, from 0 to 1. Raises ConversionFailed, and
        what ``check`` raises.
        """
        result = space.file()

        def parse(text: bytes) -> None:
            if percents := _PERCENT.findall(text):
                report(min(float(percents[-1]) / 100, 1.0))

        formats = ["-f", QEMU_NAMES[content], "-O", QEMU_NAMES[self.output_format]]
        self._sandbox.run(
            ["convert", "-p", *formats, name(source), name(result)],
            [source, result],
            self._limits(output=measured.largest),
            check,
            parse,
        )
        return result

    def _limits(self, *, output: int) -> RunLimits:
        return RunLimits(output=output, seconds=self._settings.max_time)


def load(plugins: PluginSettings, settings: ConversionSettings) -> Converter | None:
    """The converter, or None if conversion is not enabled. Raises BadConfig, naming the option."""
    if CONVERSION not in plugins.image_import_plugins:
        if settings.on_upload:
            problem = "[image_import_opts] image_import_plugins does not contain image_conversion"
            raise BadConfig(f"[{GROUP}] on_upload", problem)
        return None
    sandbox = Sandbox(settings)
    return Converter(settings, Scratch(settings.scratch_dir, settings.scratch_size), sandbox)
