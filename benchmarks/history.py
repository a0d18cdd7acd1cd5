"""Prints a line for benchmarks/history.md from what the last `make bench` has written.

    python benchmarks/history.py

A figure that was not measured, such as one beside Glance without GLANCE_VENV, is a dash.
"""

import importlib.metadata
import json
import time
from typing import Any

import report

#: Of compare.py, how many times better than Glance: column, work, unit.
BESIDE_GLANCE = (
    ("upload", "MB/s"),
    ("upload", "CPU s/GiB"),
    ("8 uploads", "MB/s"),
    ("8 uploads", "peak MiB"),
    ("download", "MB/s"),
    ("create", "p50 ms"),
    ("show", "p50 ms"),
    ("page of 25", "p50 ms"),
    ("list of 1000", "p50 ms"),
)


def saved(name: str) -> dict[str, Any]:
    """What a benchmark has written, or nothing."""
    file = report.OUT_DIRECTORY / f"{name}.json"
    document: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return document


def text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def main() -> None:
    better = saved("latest").get("ratios", {})
    keys = [f"{work}, {unit}, compared with glance" for work, unit in BESIDE_GLANCE]
    cells = [importlib.metadata.version("imsgate"), time.strftime("%Y-%m-%d", time.gmtime())]
    cells += [text(better.get(key)) for key in keys]
    for server in ("postgresql", "mariadb"):
        ratios = sorted(saved(f"scale-{server}").values())
        cells.append(text(ratios[len(ratios) // 2] if ratios else None))
        cells.append(text(ratios[-1] if ratios else None))
    waiting = saved("connections")
    cells += [text(waiting.get(name)) for name in ("show", "KiB each")]
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
