"""At which emulated moment does a loop do what is due, late, or asked for by others?"""

from __future__ import annotations

from pathlib import Path

from perigrid.live.clock import ClockPage
from perigrid.live.loop import LAZY_PAST_S, Loop
from tests.live.conftest import wait_until

LIMIT_S = 20.0
CALL_S = 1.0
"""More than a machine takes between two looks at the clock."""


def test_a_late_call_acts_at_the_moment_it_was_due(tmp_path: Path) -> None:
    clock = ClockPage.create(tmp_path / "clock.page", free=False)
    clock.set_rate(1.0)
    loop = Loop(ClockPage(tmp_path / "clock.page"))
    seen: dict[str, tuple[float, float]] = {}

    def see(name: str) -> None:
        seen[name] = (loop.now_s(), loop.clock.now_s())

    start_s = loop.clock.now_s()
    loop.at(start_s + 0.01, lambda: see("first"))
    loop.at(start_s + 0.02, lambda: see("second"))
    loop.at(start_s + 0.01, lambda: see("lazy"), lazy=True)
    loop.at(start_s + 0.049, lambda: see("lazier"), lazy=True)
    loop.soon(lambda: see("asked for"))
    loop.soon(loop.stop)
    wait_until(lambda: loop.clock.now_s() >= start_s + 0.05, LIMIT_S, "all of it is due")
    loop.run()
    assert seen["first"][0] == start_s + 0.01 and seen["second"][0] == start_s + 0.02
    assert all(clock_s >= start_s + 0.05 for _, clock_s in seen.values())
    # What may come late acts a little before it comes, so that what is on its way is not late for it.
    for name in ("lazy", "lazier"):
        assert seen[name][1] - LAZY_PAST_S - CALL_S <= seen[name][0] <= seen[name][1]
    assert seen["lazy"][0] >= start_s + 0.05 - LAZY_PAST_S and seen["lazier"][0] >= start_s + 0.049
    assert seen["asked for"][0] >= start_s + 0.05, "nobody gave it a time"
    assert loop.now_s() >= seen["asked for"][0]
    clock.close()
