"""What a process says about its use of the machine."""

from __future__ import annotations

from kumotwist.service.vitals import Vitals, resident_memory


def numbers(vitals: Vitals) -> dict[str, float]:
    return {sample.name: sample.value for sample in vitals.samples()}


def test_processor_use_is_percent_of_one_core() -> None:
    """A process that kept one and a half cores busy since the last look shows 150, as KumoMTA's metric does."""
    now, used = [100.0], [7.0]
    vitals = Vitals(lambda: now[0], lambda: used[0])
    assert numbers(vitals)["process_cpu_usage_sum"] == 0.0
    now[0], used[0] = 104.0, 13.0
    vitals.poll()
    assert numbers(vitals)["process_cpu_usage_sum"] == 150.0
    assert 0 < numbers(vitals)["process_cpu_usage_normalized"] <= 150.0
    now[0] = 106.0
    vitals.poll()
    assert numbers(vitals)["process_cpu_usage_sum"] == 0.0


def test_two_looks_at_the_same_moment_keep_the_last_figure() -> None:
    """A clock that has not moved is no reason to divide by nothing."""
    now, used = [100.0], [7.0]
    vitals = Vitals(lambda: now[0], lambda: used[0])
    now[0], used[0] = 101.0, 7.5
    vitals.poll()
    vitals.poll()
    assert numbers(vitals)["process_cpu_usage_sum"] == 50.0


def test_heaps_are_a_part_of_resident_memory() -> None:
    """`memory_usage_rust`, what allocators hold, is more than nothing and less than all that is resident."""
    shown = numbers(Vitals())
    assert 1 << 20 < shown["memory_usage_rust"] < shown["memory_usage"]
    assert abs(resident_memory() - shown["memory_usage"]) < 64 << 20
