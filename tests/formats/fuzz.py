"""Coverage-guided fuzzing of every inspector, with atheris (libFuzzer).

::

    python -m tests.formats.fuzz CORPUS_DIRECTORY -max_total_time=60

An input is a length of the first piece (4 bytes) and an image. Anything raised but a
verdict is a crash, and so is a verdict that depends on the split or takes too long.
"""

import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imsgate.formats"]):
    from imsgate.formats.inspector import Inspector

from tests.formats.check import same_for_splits
from tests.formats.seeds import SEEDS, VHDX

SECONDS = 2.0


def one_input(data: bytes) -> None:
    first, image = int.from_bytes(data[:4], "big"), data[4:]
    begun = time.process_time()
    same_for_splits(Inspector(), image, first)
    assert time.process_time() - begun < SECONDS, "too slow"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in {**SEEDS, "vhdx": VHDX}.items():
        (folder / f"seed-{name}").write_bytes((77).to_bytes(4, "big") + image)
    options = [f"-artifact_prefix={folder}/", "-max_len=3000000", "-timeout=20", "-len_control=1"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
