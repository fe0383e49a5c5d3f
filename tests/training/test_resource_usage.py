from pathlib import Path

import numpy as np
import pytest

from training.resource_usage import Costs


def test_the_parts_are_measured_in_order_and_the_peak_stays() -> None:
    costs = Costs()
    with costs.of("large"):
        held = np.ones(30_000_000)
    held_bytes = held.nbytes
    del held
    with costs.of("small"):
        pass
    assert [cost.part for cost in costs.parts] == ["large", "small"]
    assert all(cost.seconds >= 0 for cost in costs.parts)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].removesuffix("kB")) * 1024
    for cost in costs.parts:
        assert cost.peak_memory == pytest.approx(peak, rel=0.01)
        assert cost.peak_memory > held_bytes
