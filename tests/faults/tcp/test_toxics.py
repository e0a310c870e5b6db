import pytest

from moored.faults import ScheduleError
from moored.faults.tcp.toxics import (
    KINDS,
    Bandwidth,
    Corrupt,
    Latency,
    LimitData,
    Slicer,
    SlowClose,
    Timeout,
)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Latency, "latency", -1),
        (Latency, "jitter", float("nan")),
        (Bandwidth, "rate", float("inf")),
        (Bandwidth, "rate", True),
        (Slicer, "average_size", 1.5),
        (Slicer, "size_variation", -1),
        (LimitData, "bytes", "10"),
        (SlowClose, "delay", None),
        (Timeout, "timeout", "1s"),
        (Corrupt, "share", 1.1),
        (Corrupt, "offsets", (1, -2)),
        (Corrupt, "offsets", "12"),
    ],
)
def test_a_wrong_setting_is_told_with_its_bound(kind, field, value):
    with pytest.raises(ScheduleError, match=f"^{field} must be ") as caught:
        kind(**{field: value})
    assert caught.value.field == field


def test_each_is_known_by_its_kind_and_has_defaults():
    for name, kind in KINDS.items():
        assert kind().kind == name
        assert kind() == kind()
        assert kind.__doc__
