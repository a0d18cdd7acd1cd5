"""Writes the table in doc/metrics.md, from a run.

``python -m tests.metrics.table`` writes it, and a test fails when it is stale.
"""

import pathlib
from collections.abc import Iterable

from prometheus_client.core import Metric

from tests.metrics import run

DOC = pathlib.Path(__file__).parent.parent.parent / "doc" / "metrics.md"

#: Everything after this line of the page is written here.
BEGINNING = "## All metrics\n"

HEAD = f"""\
{BEGINNING}
Written by `python -m tests.metrics.table` from a run, with some values of each label. Routes are
those of [the Image API](api.md) and of [IMS](ims.md), reasons those in [api.md](api.md#errors),
checks those in [formats.md](formats.md), and stores those of `enabled_backends`.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""

#: How many values of a label are shown.
_SHOWN = 6


def name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric) -> str:
    seen: dict[str, dict[str, None]] = {}
    for sample in metric.samples:
        for label, value in sample.labels.items():
            if label not in ("le", "version"):
                seen.setdefault(label, {})[value] = None
    return "; ".join(f"`{label}`: {_values(values)}" for label, values in seen.items())


def _values(values: Iterable[str]) -> str:
    shown = sorted(value or "(none)" for value in values)
    return ", ".join(shown[:_SHOWN] + ["…"] * (len(shown) > _SHOWN))


def table() -> str:
    rows = (
        f"| `{name(metric)}` | {metric.type} | {_labels(metric)} | {metric.documentation} |\n"
        for metric in run.families()
    )
    return HEAD + "".join(rows)


def text() -> str:
    """The whole page."""
    return DOC.read_text().partition(BEGINNING)[0] + table()


if __name__ == "__main__":
    DOC.write_text(text())
