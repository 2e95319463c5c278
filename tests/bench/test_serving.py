"""Does the serving benchmark say what its rounds said? Statistics and table from made-up stretches, no timing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "serving"


@pytest.fixture(scope="module")
def serving() -> Iterator[Any]:
    """The benchmark's own modules, which stand outside the package."""
    sys.path.insert(0, str(FOLDER))
    try:
        import figures

        yield figures
    finally:
        sys.path.remove(str(FOLDER))


def stretch(serving: Any, rate_hz: float, cpu_us: float = 0.0, client_us: float = 0.0, **changes: Any) -> Any:
    """A second of so many requests."""
    requests = round(rate_hz)
    faults = changes.pop("faults", 0)
    said = {"others_cores": 0.0, "p50_s": 1 / rate_hz, "p99_s": 2 / rate_hz, **changes}
    return serving.Stretch(requests, rate_hz, requests * cpu_us / 1e6, requests * client_us / 1e6, faults, **said)


def a_round(serving: Any, speed: float = 1.0, again: float = 1.0) -> dict[Any, Any]:
    """Bare takes 1 ms, null 1 ms, perigrid 2.5 ms, mosec 4 ms; the machine is `speed` times as fast in all of it."""
    rates = {
        "bare": stretch(serving, 1000 * speed, 1000),
        "null": stretch(serving, 1000 * speed, 600, 400),
        "perigrid": stretch(serving, 400 * speed, 2000, 500, faults=800),
        "perigrid again": stretch(serving, 400 * speed * again, 2000, 500),
        "mosec": stretch(serving, 250 * speed, 3000, 100),
    }
    return {serving.Key(name, "conv", 1): one for name, one in rates.items()}


def test_the_bound_is_an_inference_and_an_rpc_one_after_the_other(serving: Any) -> None:
    here = a_round(serving)
    assert serving.bound_hz(here, "conv", 1) == pytest.approx(500.0)
    assert serving.bound_cpu_s(here, "conv", 1) == pytest.approx(2e-3)
    row = serving.medians([here], "perigrid", "conv", 1)
    assert row["of_bound"] == pytest.approx(0.8)
    assert row["of_bound_cpu"] == pytest.approx(0.8)
    assert row["of_bare"] == pytest.approx(0.4)
    assert row["beside_us"] == pytest.approx(1000.0)
    assert row["faults"] == pytest.approx(2.0)


def test_ratios_are_of_one_round_so_a_slow_minute_changes_none(serving: Any) -> None:
    rounds = [a_round(serving, speed) for speed in (1.0, 0.2, 3.0)]
    assert serving.medians(rounds, "perigrid", "conv", 1)["of_bound"] == pytest.approx(0.8, rel=0.01)
    assert serving.medians(rounds, "mosec", "conv", 1)["perigrid_over"] == pytest.approx(1.6, rel=0.01)
    assert serving.medians(rounds, "mosec", "conv", 1)["rounds"] == 3


def test_a_stretch_that_others_disturbed_does_not_count(serving: Any) -> None:
    assert stretch(serving, 100, others_cores=0.2).valid
    assert not stretch(serving, 100, others_cores=0.21).valid


def test_a_row_without_bare_or_null_has_no_ratio_to_them(serving: Any) -> None:
    here = {key: one for key, one in a_round(serving).items() if key.server in ("perigrid", "mosec")}
    assert serving.bound_hz(here, "conv", 1) is None
    assert not {"of_bound", "of_bound_cpu", "of_bare"} & set(serving.medians([here], "mosec", "conv", 1))
    assert serving.medians([here], "kserve", "conv", 1) == {}


def test_nearer_than_twice_the_spread_is_undecided(serving: Any) -> None:
    assert serving.verdict(0.90, 0.85, 0.01) == "met"
    assert serving.verdict(0.80, 0.85, 0.01) == "missed"
    assert serving.verdict(0.86, 0.85, 0.01) == "UNDECIDED"
    assert serving.verdict(3.0, 10.0, None, at_least=False) == "met"
    rounds = [a_round(serving, again=again) for again in (1.0, 1.05, 0.9)]
    assert serving.spread(rounds, "conv", 1) == pytest.approx(1 - 1 / 1.05, abs=2e-3)
    assert serving.spread(rounds, "mlp", 1) is None


def test_bare_before_and_after_are_one_stretch_and_their_drift_is_said(serving: Any) -> None:
    before, after = stretch(serving, 1000, 1000), stretch(serving, 500, 2000)
    both = serving.joined(before, after)
    assert both.requests == 1500
    assert both.rate_hz == pytest.approx(1 / 1.5e-3)
    assert serving.bare_drift([(before, after)]) == pytest.approx(0.5)
    assert serving.bare_drift([]) is None


def test_the_table_names_everybody_and_what_is_missing(serving: Any) -> None:
    servers = ("bare", "null", "perigrid", "perigrid again", "mosec", "ray")
    found = serving.summary([a_round(serving), a_round(serving, 2.0)], servers, {"conv/1": 0.01})
    text = serving.table({**found, "missing": {"ray": "does not install: no wheel"}})
    assert "conv, 1 client (A/A spread 0.0)" in text
    assert "ray: unmeasured: does not install: no wheel" in text
    assert "of the bound 0.8 (aim 0.85): missed" in text
    assert "over mosec 1.6 (aim 1): met" in text
    lines = [line for line in text.splitlines() if line.startswith("perigrid ") and " 600.0 " in line]
    assert len(lines) == 2
    # Everything in a block is as wide as its head, so that columns stand below one another.
    block = text.strip().splitlines()[1:7]
    assert len({len(line) for line in block}) == 1


def test_models_are_what_they_say(serving: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    import models

    for name, make in (("conv", models._conv), ("mlp", models._mlp)):
        (tmp_path / f"{name}.onnx").write_bytes(make())
        assert make() == make()
    shapes = {"conv": (1, 3, 224, 224), "mlp": (1, 768)}
    for name, shape in shapes.items():
        model = models.Model(name, tmp_path / f"{name}.onnx", "input", "output", shape, 1.0)
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
        found = session.run(["output"], {"input": model.sample()})[0]
        assert found.shape == (1, models.CLASSES)
        assert np.isfinite(found).all()
        assert np.ptp(found) > 0
