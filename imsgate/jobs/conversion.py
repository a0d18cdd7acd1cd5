"""Converts the data of an import after the inspection, and before any store gets it.

All of the data is first written into scratch space, because the inspection may refuse it at its
last byte and qemu-img reads it in any order. The result is inspected like any other image: a disk
may contain a second image, which is hidden as long as the first one is not converted.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from imsgate import errors
from imsgate.config import Config
from imsgate.conversion import converter as converters
from imsgate.conversion.converter import Converter
from imsgate.conversion.scratch import Reservation, ScratchTap
from imsgate.conversion.settings import ConversionSettings, PluginSettings
from imsgate.jobs.progress import ProgressTap
from imsgate.model import Image
from imsgate.signatures.verify import signed
from imsgate.sources.base import Source
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.stores.base import Sink, Store
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests
from imsgate.transfer.reservation import ReservationTap

#: The content of the values of ``disk_format`` that are converted. Others, such as kernels and
#: installation media, are imported unchanged. An image without one may have any content.
_CONTENT = {
    **{name: name for name in ("raw", "qcow", "qcow2", "qed", "vdi", "vhd", "vhdx", "vmdk")},
    "vpc": "vhd",
    "gpt": "raw",
}
#: Containers that do not wrap the disk, and one that an import may unwrap.
_CONTAINERS = (None, "bare", "compressed")
_FORMAT_FIELDS = ("disk_format", "container_format")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Converts the data of imports."""

    converter: Converter
    inspector: SourceInspector

    def concerns(self, image: Image) -> bool:
        """Whether the data of this image may have to be converted.

        A signature is that of the original data, so signed images are left as they are.
        """
        if signed(image) or image.container_format not in _CONTAINERS:
            return False
        if image.disk_format is None:
            return True
        content = _CONTENT.get(image.disk_format.lower())
        return content is not None and self.converter.converts(content)

    def concerns_upload(self, image: Image) -> bool:
        """The same for an upload without an import: only if the operator wants that."""
        return self.converter.on_upload and self.concerns(image)

    @contextlib.contextmanager
    def convert(
        self,
        image: Image,
        source: Source,
        *,
        check: Callable[[], object],
        progress: ProgressTap,
        copies: int,
    ) -> Iterator[Source]:
        """The data to store in ``copies`` stores. ``check`` may raise to stop.

        Raises what reading ``source`` raises, ConversionFailed, TooLarge, BadImage for a result
        that is refused, ScratchFull and ScratchTooSmall.
        """
        with self.converter.scratch.reservation() as space:
            file = _spooled(source, space, check, progress)
            progress.prepare(progress.done, progress.done * (1 + copies))
            fields, content = dict(source.content_fields()), source.content_format
            if self.converter.converts(content):
                file = self._converted(file, content, space, check, progress, copies)
                fields |= {"disk_format": self.converter.output_format, "container_format": "bare"}
            known = {name: fields[name] for name in _FORMAT_FIELDS if name in fields}
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            result = dataclasses.replace(image, **known)
            yield _Prepared(self.inspector.open_unverified(result, file, size), fields)

    def _converted(
        self,
        file: IO[bytes],
        content: str,
        space: Reservation,
        check: Callable[[], object],
        progress: ProgressTap,
        copies: int,
    ) -> IO[bytes]:
        done = progress.done
        measured = self.converter.measure(file, content, self.inspector.limit(), check)
        space.reserve(done + measured.needed)
        total = done + measured.expected * (1 + copies)

        def report(part: float) -> None:
            progress.prepare(done + int(part * measured.expected), total)

        return self.converter.convert(file, content, measured, space, check, report)


def load(conf: Config, inspector: SourceInspector) -> Conversion | None:
    """The configured conversion; None if there is none. Raises BadConfig, naming the option."""
    converter = converters.load(conf.read(PluginSettings), conf.read(ConversionSettings))
    return None if converter is None else Conversion(converter=converter, inspector=inspector)


def _spooled(
    source: Source, space: Reservation, check: Callable[[], object], progress: ProgressTap
) -> IO[bytes]:
    """Write the data into scratch space."""
    file = space.file()
    if source.size is not None:
        space.reserve(source.size)
    source.body.join(ReservationTap(source.size, space.reserve))
    source.body.join(ScratchTap(file))
    source.body.join(progress)
    try:
        size = copy(source.body, None, Digests(()), check)
    except errors.Error:
        check()  # a source that was stopped by it fails with BodyCut, which is not the reason
        raise
    if source.size not in (None, size):
        raise errors.SizeMismatch(announced=source.size, received=size)
    return file


class _Prepared:
    """A source whose data is in scratch space."""

    def __init__(self, source: InspectedSource, fields: Mapping[str, Any]) -> None:
        """``fields`` are those of the record besides the ones that follow from the data."""
        self._source = source
        self._fields = fields
        self.body = source.body
        self.size = source.size

    def copy_into(self, store: Store, key: str) -> Sink | None:
        return None

    @property
    def content_format(self) -> str:
        return self._source.content_format

    def content_fields(self) -> Mapping[str, Any]:
        return {**self._fields, **self._source.content_fields()}
