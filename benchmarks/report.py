"""Reports medians and ratios as text, as JSON and as a bar chart."""

import contextlib
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Mapping
from typing import Any

#: Figures by unit, for each round, by work and server.
Results = dict[str, dict[str, list[dict[str, float]]]]
#: Figures by unit, by work and server.
Medians = dict[str, dict[str, dict[str, float]]]

OUT_DIRECTORY = pathlib.Path(__file__).parent / "out"
#: Units in which more is better. In all others, less is better.
RATES = frozenset({"MB/s"})
IMSGATE = "imsgate"


def medians(results: Results) -> Medians:
    """The median of each figure over the rounds."""
    return {
        work: {
            server: {unit: statistics.median(run[unit] for run in runs) for unit in runs[0]}
            for server, runs in servers.items()
        }
        for work, servers in results.items()
    }


def ratios(figures_by_work: Medians) -> dict[str, float]:
    """How many times better imsgate is than each other server; above 1 is better."""
    result = {}
    for work, servers in figures_by_work.items():
        for server, figures in servers.items():
            for unit, value in figures.items():
                if server != IMSGATE and min(value, servers[IMSGATE][unit]) > 0:
                    ratio = servers[IMSGATE][unit] / value
                    key = f"{work}, {unit}, compared with {server}"
                    result[key] = ratio if unit in RATES else 1 / ratio
    return result


def show(results: Results, settings: Mapping[str, Any]) -> None:
    """Print the figures, and write them to latest.json and latest.png."""
    figures_by_work = medians(results)
    better = ratios(figures_by_work)
    for work, servers in figures_by_work.items():
        print(work)
        for server, figures in servers.items():
            row = "  ".join(f"{value:9.2f} {unit:<9}" for unit, value in figures.items())
            print(f"  {server:<8} {row}")
    print("\nHow many times better imsgate is (1: equal)")
    for key, ratio in better.items():
        print(f"  {key:<50} {ratio:6.2f} {'#' * min(round(ratio * 4), 60)}")
    OUT_DIRECTORY.mkdir(exist_ok=True)
    document = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "settings": {name: str(value) for name, value in settings.items()},
        "medians": figures_by_work,
        "ratios": better,
        "rounds": results,
    }
    (OUT_DIRECTORY / "latest.json").write_text(json.dumps(document, indent=1))
    with contextlib.suppress(ImportError):
        _plot(better)
    print(f"\n{OUT_DIRECTORY / 'latest.json'}")


def save(name: str, figures: Mapping[str, float]) -> None:
    """Write the figures of a benchmark for history.py."""
    OUT_DIRECTORY.mkdir(exist_ok=True)
    (OUT_DIRECTORY / f"{name}.json").write_text(json.dumps(figures, indent=1))


def _plot(better: dict[str, float]) -> None:
    """Write the bar chart. Raises ImportError if matplotlib is not installed."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(9, 0.25 * len(better) + 1), layout="constrained")
    axes.barh(list(better), list(better.values()))
    axes.axvline(1, color="black")
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("how many times better (1: equal)")
    figure.savefig(OUT_DIRECTORY / "latest.png")
