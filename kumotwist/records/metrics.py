"""Metrics: what the parts count, added up over workers, as text and as JSON.

Every part with numbers is a `StatSource`. A worker takes a `snapshot`, the
supervisor (or whoever answers `/metrics`) adds snapshots up with `merge` and
renders the sum. Nothing is counted twice and nothing is paid on the way of a
message.

The text is the Prometheus exposition format 0.0.4. prometheus-client's own
writer puts `_total` behind every counter, which would rename KumoMTA's, so
only its number format is used here; its parser checks ours in the tests.

Public: `Metrics`, `Numbers`, `merge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec
from attrs import define, field
from prometheus_client.utils import floatToGoString

from kumotwist.core.json import Json, JsonObject
from kumotwist.core.stats import Histogram, Sample, StatSource
from kumotwist.records.catalogue import Metric, describe

Labels: TypeAlias = tuple[tuple[str, str], ...]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class _Buckets(msgspec.Struct, array_like=True):
    """A histogram as it travels."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float


_Value: TypeAlias = float | _Buckets
_Row: TypeAlias = tuple[str, Labels, _Value]
_decoder: Final = msgspec.msgpack.Decoder(list[_Row])


@define(eq=False)
class Metrics:
    """The numbers of one process."""

    sources: Sequence[StatSource]

    def snapshot(self) -> bytes:
        """All numbers as they are now, for `merge`."""
        samples = (sample for source in self.sources for sample in source.samples())
        return msgspec.msgpack.encode([(one.name, one.labels, _travelling(one)) for one in samples])


@define(eq=False)
class Numbers:
    """Added-up numbers by metric and labels."""

    _values: dict[str, dict[Labels, _Value]] = field(factory=dict)
    #: How many values a mean is made of, when that is more than one.
    _counts: dict[tuple[str, Labels], int] = field(factory=dict)

    def add(self, name: str, labels: Labels, value: _Value) -> None:
        """Add one value to what is there under the same name and labels."""
        values = self._values.setdefault(name, {})
        known = values.get(labels)
        if known is None:
            values[labels] = value
        elif isinstance(known, _Buckets) and isinstance(value, _Buckets):
            known.counts = [one + other for one, other in zip(known.counts, value.counts, strict=True)]
            known.sum += value.sum
        elif not isinstance(known, _Buckets) and not isinstance(value, _Buckets):
            values[labels] = self._together(name, labels, known, value)

    def _together(self, name: str, labels: Labels, known: float, value: float) -> float:
        how = describe(name).over_workers
        if how == "mean":
            count = self._counts[name, labels] = self._counts.get((name, labels), 1) + 1
            return known + (value - known) / count
        return max(known, value) if how == "max" else known + value

    def value(self, name: str, /, **labels: str) -> float:
        """One plain value, 0 when there is none."""
        found = self._values.get(name, {}).get(tuple(labels.items()), 0.0)
        return found.sum if isinstance(found, _Buckets) else found

    def text(self) -> bytes:
        """The Prometheus text format."""
        return "".join(self._lines()).encode()

    def json(self) -> bytes:
        """KumoMTA's `/metrics.json`: `{name: {help, type, value}}`."""
        shown: JsonObject = {}
        for metric, values in self._described():
            shown[metric.name] = {"help": metric.help, "type": metric.type, "value": _json_value(values)}
        return msgspec.json.encode(shown)

    def _described(self) -> Iterator[tuple[Metric, dict[Labels, _Value]]]:
        for name in sorted(self._values):
            yield describe(name), self._values[name]

    def _lines(self) -> Iterator[str]:
        for metric, values in self._described():
            yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}\n"
            for labels, value in values.items():
                if isinstance(value, _Buckets):
                    yield from _bucket_lines(metric.name, labels, value)
                else:
                    yield _line(metric.name, labels, value)


def merge(snapshots: Iterable[bytes]) -> Numbers:
    """The sum of `snapshots`. Raises msgspec.DecodeError for bytes that are none."""
    numbers = Numbers()
    for snapshot in snapshots:
        for name, labels, value in _decoder.decode(snapshot):
            numbers.add(name, labels, value)
    return numbers


def _travelling(sample: Sample) -> _Value:
    value = sample.value
    if isinstance(value, Histogram):
        return _Buckets(value.bounds, value.counts, value.sum)
    return float(value)


def _line(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {_number(value)}\n"
    shown = ",".join([f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels])
    return f"{name}{{{shown}}} {_number(value)}\n"


def _number(value: float) -> str:
    shown: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # prometheus-client has no types here
    return shown


def _bucket_lines(name: str, labels: Labels, buckets: _Buckets) -> Iterator[str]:
    total = 0
    for bound, count in zip((*buckets.bounds, float("inf")), buckets.counts, strict=True):
        total += count
        yield _line(f"{name}_bucket", (*labels, ("le", _number(bound))), total)
    yield _line(f"{name}_sum", labels, buckets.sum)
    yield _line(f"{name}_count", labels, total)


def _json_value(values: dict[Labels, _Value]) -> Json:
    """A number without labels, a table for one label, a list for several."""
    shown: list[Json] = []
    single: dict[str, Json] = {}
    key = ""
    for labels, value in values.items():
        number = _json_buckets(value) if isinstance(value, _Buckets) else value
        if not labels:
            return number
        if len(labels) == 1:
            key = labels[0][0]
            single[labels[0][1]] = number
        else:
            shown.append({**dict(labels), "@": number})
    return {key: single} if single else shown


def _json_buckets(buckets: _Buckets) -> Json:
    """Cumulative counts by finite upper bound; JSON has no infinity."""
    total, pairs = 0, list[Json]()
    for bound, count in zip(buckets.bounds, buckets.counts, strict=False):
        total += count
        pairs.append([bound, float(total)])
    count = sum(buckets.counts)
    return {
        "count": float(count),
        "sum": buckets.sum,
        "avg": buckets.sum / count if count else 0.0,
        "bucket": pairs,
    }
