import numpy as np

from training.costs import Costs


def test_the_parts_are_measured_in_order_and_the_peak_stays() -> None:
    costs = Costs()
    with costs.of("large"):
        held = np.ones(30_000_000)
    del held
    with costs.of("small"):
        pass
    assert [cost.part for cost in costs.parts] == ["large", "small"]
    assert all(cost.seconds >= 0 for cost in costs.parts)
    assert 30_000_000 * 8 < costs.parts[0].peak_memory <= costs.parts[1].peak_memory
