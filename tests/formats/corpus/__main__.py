"""Writes the files of the corpus and manifest.json into a directory."""

import json
import sys
from pathlib import Path

from tests.formats.corpus import entries, manifest_row


def main(directory: str) -> None:
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for entry in entries():
        path = target / entry.name
        entry.make(path)
        rows.append(manifest_row(entry, path))
    (target / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")


main(sys.argv[1])
