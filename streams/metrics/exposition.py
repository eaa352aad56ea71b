"""Readings in the text formats of Prometheus, with the figures of the process itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streams.metrics.families import COUNTER, HISTOGRAM, Family, Reading

ReadMeters = Callable[[], Iterable[Reading]]


class Exposition:
    """The metrics of one process as a scraper gets them."""

    def __init__(self, read: ReadMeters) -> None:
        """`read` returns the process's readings; it is called for each scrape, on the scraper's thread."""
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(_Readings(read))

    def encode(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the format that a scraper accepts."""
        try:
            encoder, media_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the library compares versions that are no numbers
            encoder, media_type = choose_encoder("")
        return encoder(self._registry), media_type


class _Readings(Collector):
    def __init__(self, read: ReadMeters) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        readings = sorted(self._read(), key=lambda one: (one.family.name, one.labels))
        for family, of_family in groupby(readings, key=lambda one: one.family):
            yield _metric(family, of_family)


def _metric(family: Family, readings: Iterable[Reading]) -> Metric:
    if family.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for one in readings:
            assert isinstance(one.value, tuple)
            buckets, total = one.value
            histogram.add_metric(one.labels, buckets, total)
        return histogram
    make = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
    plain = make(family.name, family.help, labels=family.labels)
    for one in readings:
        assert not isinstance(one.value, tuple)
        plain.add_metric(one.labels, one.value)
    return plain
