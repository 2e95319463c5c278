"""Does a terminal say what a latency run came to, with everything that a reader has to know?"""

from __future__ import annotations

from perigrid.bench.latency.summary import summarise
from perigrid.report.latency.text import lines
from tests.bench.latency_runs import Wish, made_run


def test_every_configuration_has_its_latency_its_stages_and_what_was_decided() -> None:
    run = made_run(Wish())
    summary = summarise(run)
    said = "\n".join(lines(summary))
    assert "MLPerf-style, unverified" in said and run.facts.model in said
    for one in summary.configurations:
        assert f"{one.whole.answered} of {one.whole.requests} answered" in said
    for complaint in summary.complaints:
        assert complaint in said
    for ratio in summary.ratios:
        assert ratio.verdict in said
    assert said.count("break-even:") == len(summary.break_evens)
    assert "needs 10,000 requests" in said
