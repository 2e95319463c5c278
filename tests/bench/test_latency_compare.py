"""Does the comparison of two runs decide what the spread allows, and name first what else differs?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from perigrid.app.cli import run_command
from perigrid.bench.compare import compare, text_of
from perigrid.bench.latency.results import SUMMARY_FILE, write_results
from perigrid.bench.latency.rows import Arm, Origin
from perigrid.bench.latency.statistics import Verdict, decide
from perigrid.bench.latency.summary import LatencyRun, summarise
from tests.bench.latency_runs import Wish, made_run

WISH = Wish(arms=(Arm.BENT_PIPE, Arm.IN_ORBIT, Arm.BARE), origins=(Origin.BOARD,), rate_per_s=5.0)
ORBIT = "server board in-orbit"


def verdicts(first: Wish, second: Wish) -> dict[tuple[str, str], Verdict]:
    """(series, statistic) -> verdict."""
    found = compare(summarise(made_run(first)), summarise(made_run(second)))
    return {(line.series, line.statistic): line.verdict for line in found.lines}


def test_a_slower_computer_is_found_in_its_arm_and_in_no_other() -> None:
    found = verdicts(WISH, replace(WISH, slower=1.3))
    assert found[ORBIT, "mean"] == found[ORBIT, "p50"] == Verdict.SLOWER
    assert {verdict for (series, _), verdict in found.items() if series != ORBIT} == {Verdict.UNDECIDED}
    again = verdicts(replace(WISH, slower=1.3), WISH)
    assert again[ORBIT, "mean"] == Verdict.FASTER


def test_another_seed_decides_nothing() -> None:
    assert set(verdicts(WISH, replace(WISH, seed=8)).values()) == {Verdict.UNDECIDED}


def test_a_run_of_other_instants_decides_nothing_that_its_instants_may_explain() -> None:
    """Each instant has a latency of its own, which thousands of requests there repeat, with next to no A/A spread."""
    first, second = (summarise(at_instants(seed, 1.0)) for seed in (1, 2))
    [mean] = [line for line in compare(first, second).lines if line.statistic == "mean"]
    plain = decide(
        second.configurations[0].whole.mean, first.configurations[0].whole.mean, (mean.first_spread, mean.second_spread)
    )
    assert plain.verdict in (Verdict.FASTER, Verdict.SLOWER)
    assert mean.verdict == Verdict.UNDECIDED
    far = compare(first, summarise(at_instants(2, 9.0)))
    assert {line.verdict for line in far.lines if line.statistic == "mean"} == {Verdict.SLOWER}
    same = compare(first, summarise(at_instants(1, 1.2)))
    assert {line.verdict for line in same.lines if line.statistic == "mean"} == {Verdict.SLOWER}


def at_instants(seed: int, factor: float) -> LatencyRun:
    """A run whose latencies differ from instant to instant, and hardly within one."""
    run = made_run(replace(WISH, seed=seed, arms=(Arm.IN_ORBIT,), rate_per_s=40.0, failing=0.0))
    effects = factor * np.random.default_rng(seed).lognormal(0.0, 0.7, 20)
    noise = np.random.default_rng(seed + 100)
    return msgspec.structs.replace(
        run,
        series=tuple(
            msgspec.structs.replace(
                series,
                rows=tuple(
                    msgspec.structs.replace(row, latency_s=float(effects[row.stratum] * noise.normal(1.0, 1e-3)))
                    for row in series.rows
                ),
            )
            for series in run.series
        ),
    )


def test_a_spread_as_wide_as_the_difference_decides_nothing() -> None:
    assert verdicts(WISH, replace(WISH, slower=1.3, drift=0.4))[ORBIT, "mean"] == Verdict.UNDECIDED


def test_an_invalid_run_decides_nothing() -> None:
    assert verdicts(WISH, replace(WISH, slower=1.3, invalid=(ORBIT,)))[ORBIT, "mean"] == Verdict.INVALID


def test_what_else_differs_stands_first() -> None:
    first = summarise(made_run(WISH))
    second = summarise(made_run(replace(WISH, digest="e" * 64, arms=(Arm.IN_ORBIT, Arm.SHARDED), seed=9)))
    found = compare(first, second)
    assert found.differences == (f"digest: {'d' * 64} and {'e' * 64}", "seed: 7 and 9")
    assert found.only_first == ("server board bent-pipe", "bare")
    assert found.only_second == ("server board sharded",)
    lines = text_of(found)
    assert [line.split()[0] for line in lines[:3]] == ["first", "DIFFERENT", "DIFFERENT"]
    assert any("UNDECIDED" in line for line in lines)


def test_runs_without_a_common_configuration_are_said_so() -> None:
    found = compare(
        summarise(made_run(replace(WISH, arms=(Arm.IN_ORBIT,)))), summarise(made_run(replace(WISH, arms=(Arm.BARE,))))
    )
    assert text_of(found)[-1] == "the two runs have no configuration in common"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs on disk, the second slower."""
    root = tmp_path_factory.mktemp("runs")
    for name, wish in (("one", WISH), ("two", replace(WISH, slower=1.3))):
        write_results(root / name, made_run(wish))
    return root / "one", root / "two"


def test_the_command_ends_with_0_whatever_the_verdict(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["bench", "compare", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    assert f"first {folders[0]}" in said and "SLOWER" in said and "UNDECIDED" in said
    assert run_command(["bench", "compare", "--json", str(folders[0]), str(folders[0])]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {line["verdict"] for line in table["lines"]} == {"UNDECIDED"}
    assert {line["reason"] for line in table["lines"]} == {"equal"}


@pytest.mark.parametrize("content", [None, "{", '{"schema": 99}'])
def test_the_command_ends_with_2_on_bad_input(
    folders: tuple[Path, Path], tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / SUMMARY_FILE).write_text(content)
    assert run_command(["bench", "compare", str(folders[0]), str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_command_ends_with_2_on_a_missing_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(["bench", "compare", "one"])
    assert ended.value.code == 2
    assert "second" in capsys.readouterr().err
