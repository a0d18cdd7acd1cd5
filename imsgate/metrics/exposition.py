"""The metrics of a host as text for Prometheus."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from imsgate import metrics
from imsgate.metrics import values
from imsgate.metrics.values import Numbers

#: Prometheus' text format, whatever the library calls its newest.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def gauge(
    name: str, meaning: str, samples: Mapping[tuple[str, ...], float], *labels: str
) -> Metric:
    """A number that was just read, for each combination of label values."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for each, number in samples.items():
        family.add_metric(each, number)
    return family


def text(directory: str, further: Iterable[Metric]) -> bytes:
    """What all processes have counted, then ``further`` metrics. Raises OSError."""
    ended, living, processes = values.collect(directory)
    registry = CollectorRegistry()
    registry.register(_Fixed([*_counted(ended, living), _processes(processes), *further]))
    return generate_latest(registry)


def _processes(number: int) -> Metric:
    return gauge("imsgate_processes", "Processes of this host that count.", {(): number})


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _counted(ended: Numbers, living: Numbers) -> Iterator[Metric]:
    for name, metric in metrics.ALL.items():
        now = _of(name, living)
        both = dict(_of(name, ended))
        for labels, number in now.items():
            both[labels] = both.get(labels, 0.0) + number
        if isinstance(metric, metrics.Gauge):
            yield gauge(name, metric.meaning, now, *metric.labels)
        elif isinstance(metric, metrics.Counter):
            counter = CounterMetricFamily(name, metric.meaning, labels=metric.labels)
            for labels in sorted(both):
                counter.add_metric(labels, both[labels])
            yield counter
        else:
            yield _histogram(metric, both)


def _of(name: str, numbers: Numbers) -> dict[tuple[str, ...], float]:
    """The numbers of a metric by the values of its labels."""
    return {key[1:]: number for key, number in sorted(numbers.items()) if key[0] == name}


def _histogram(metric: metrics.Metric, numbers: Mapping[tuple[str, ...], float]) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels in sorted({key[:-1] for key in numbers}):
        count, buckets = 0.0, []
        for bound, bucket in zip(metrics.SECONDS, metrics.BUCKETS, strict=True):
            count += numbers.get((*labels, bucket), 0.0)
            buckets.append(("+Inf" if bound == float("inf") else str(bound), count))
        family.add_metric(labels, buckets, numbers.get((*labels, metrics.SUM), 0.0))
    return family
