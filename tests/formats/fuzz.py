"""Coverage-guided fuzzing of all parsers, with atheris (libFuzzer).

::

    python -m tests.formats.fuzz CORPUS_DIRECTORY -max_total_time=60

An input is the length of the first piece (4 bytes), followed by an image. A crash is any exception
except a refusal, a verdict that depends on how the image is split, and an inspection that takes
too long.
"""

import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imsgate.formats"]):
    from imsgate.formats.inspector import Inspector

from tests.formats.check import assert_same_if_split
from tests.formats.seeds import SEEDS, VHDX

MAX_CPU_SECONDS = 2.0


def fuzz_one(data: bytes) -> None:
    first, image = int.from_bytes(data[:4], "big"), data[4:]
    start = time.process_time()
    assert_same_if_split(Inspector(), image, first)
    assert time.process_time() - start < MAX_CPU_SECONDS, "too slow"


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, image in {**SEEDS, "vhdx": VHDX}.items():
        (directory / f"seed-{name}").write_bytes((77).to_bytes(4, "big") + image)
    options = [
        f"-artifact_prefix={directory}/",
        "-max_len=3000000",
        "-timeout=20",
        "-len_control=1",
    ]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(directory)], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
