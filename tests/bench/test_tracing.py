"""Does the cost of tracing say no more than its spread allows?"""

from __future__ import annotations

import pytest

from perigrid.bench.tracing import KINDS, summary


def rounds(traced: float, noise: float) -> list[dict[str, tuple[float, float]]]:
    """Three rounds whose traced requests cost so much more, the same thing twice being `noise` apart."""
    cost = dict(zip(KINDS, (traced, 1.0, traced * (1 + noise), 1 + noise), strict=True))
    return [{kind: (value, 1 / value) for kind, value in cost.items()} for _ in range(3)]


@pytest.mark.parametrize(
    ("traced", "noise", "verdict"), [(1.02, 0.03, "UNDECIDED"), (1.1, 0.01, "+10.0%"), (1.0, 0.0, "+0.0%")]
)
def test_a_difference_within_twice_the_spread_is_undecided(traced: float, noise: float, verdict: str) -> None:
    found = summary(rounds(traced, noise))
    assert found["cpu"]["ratio"] == pytest.approx(traced, abs=1e-4)
    assert found["cpu"]["spread"] == pytest.approx(noise / (1 + noise), abs=1e-3)
    assert found["cpu"]["verdict"] == verdict
    assert found["rate"]["ratio"] == pytest.approx(1 / traced, abs=1e-3)
