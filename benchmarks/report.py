"""A table of medians and ratios, as text, JSON and bars."""

import contextlib
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Mapping
from typing import Any

#: By work, server and round: figures by their units.
Results = dict[str, dict[str, list[dict[str, float]]]]

OUT = pathlib.Path(__file__).parent / "out"
#: Of these more is better.
RATES = frozenset({"MB/s"})
OURS = "imsgate"


def medians(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    return {
        work: {
            server: {unit: statistics.median(run[unit] for run in runs) for unit in runs[0]}
            for server, runs in servers.items()
        }
        for work, servers in results.items()
    }


def ratios(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """How many times better than each other server imsgate is; above 1 is better."""
    better = {}
    for work, servers in found.items():
        for server, figures in servers.items():
            for unit, value in figures.items():
                if server != OURS and min(value, servers[OURS][unit]) > 0:
                    ratio = servers[OURS][unit] / value
                    key = f"{work}, {unit}, beside {server}"
                    better[key] = ratio if unit in RATES else 1 / ratio
    return better


def show(results: Results, settings: Mapping[str, Any]) -> None:
    found = medians(results)
    better = ratios(found)
    for work, servers in found.items():
        print(work)
        for server, figures in servers.items():
            row = "  ".join(f"{value:9.2f} {unit:<9}" for unit, value in figures.items())
            print(f"  {server:<8} {row}")
    print("\nimsgate is so many times better (1: the same)")
    for key, ratio in better.items():
        print(f"  {key:<44} {ratio:6.2f} {'#' * min(round(ratio * 4), 60)}")
    OUT.mkdir(exist_ok=True)
    document = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "settings": {name: str(value) for name, value in settings.items()},
        "medians": found,
        "ratios": better,
        "rounds": results,
    }
    (OUT / "latest.json").write_text(json.dumps(document, indent=1))
    with contextlib.suppress(ImportError):
        _plot(better)
    print(f"\n{OUT / 'latest.json'}")


def _plot(better: dict[str, float]) -> None:
    """Raises ImportError without matplotlib."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - most do without

    figure, axes = plt.subplots(figsize=(9, 0.25 * len(better) + 1), layout="constrained")
    axes.barh(list(better), list(better.values()))
    axes.axvline(1, color="black")
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("so many times better")
    figure.savefig(OUT / "latest.png")
