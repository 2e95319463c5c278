"""Do links fail as often, as long and as much together as the scenario says?"""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from perigrid.mesh.outages import DAY_S, Outages
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Scenario, Station
from perigrid.units import NodeId
from tests.mesh.worlds import shell, world

DAYS = 60


def failing(**changes: object) -> Scenario:
    """A ring whose lasers hold for 99 % of the time."""
    scenario = world(shell())
    return msgspec.structs.replace(
        scenario, lasers=msgspec.structs.replace(scenario.lasers, **{"availability": 0.99, **changes})
    )


def test_a_terminal_is_up_for_99_percent_with_30_acquisitions_of_29_seconds_a_day() -> None:
    scenario = failing()
    outages = Outages(scenario, Mesh(scenario))
    spans = [
        span
        for sat in range(12)
        for terminal in range(2)
        for day in range(DAYS)
        for span in outages.of_terminal(NodeId(sat), terminal, day)
    ]
    days = 12 * 2 * DAYS
    # Each outage ends with an acquisition, which the terminal itself adds.
    lost_s = sum(end_s - start_s + scenario.lasers.acquire_s for start_s, end_s in spans)
    assert 1 - lost_s / (days * DAY_S) == pytest.approx(0.99, abs=0.0005)
    assert len(spans) / days == pytest.approx(29.6, rel=0.03)
    assert lost_s / len(spans) == pytest.approx(29.2, rel=0.03)


@pytest.mark.parametrize(("share", "together"), [(0.0, False), (0.5, True)])
def test_bursts_strike_all_terminals_of_a_satellite_and_no_other(share: float, together: bool) -> None:
    scenario = failing(burst_share=share)
    outages = Outages(scenario, Mesh(scenario))

    def minutes(sat: int, terminal: int) -> np.ndarray:
        """How many outages begin in each ten minutes."""
        starts = [start_s for day in range(DAYS) for start_s, _ in outages.of_terminal(NodeId(sat), terminal, day)]
        return np.histogram(starts, bins=DAYS * 144, range=(0, DAYS * DAY_S))[0]

    within = np.mean([np.corrcoef(minutes(sat, 0), minutes(sat, 1))[0, 1] for sat in range(6)])
    apart = np.mean([np.corrcoef(minutes(sat, 0), minutes(sat + 1, 0))[0, 1] for sat in range(6)])
    assert (within > 0.3) == together
    assert abs(apart) < 0.05
    # In bursts outages crowd together: their counts vary far more than a Poisson process's, which is one.
    counts = minutes(0, 0)
    assert (counts.var() / counts.mean() > 1.5) == together


def test_lookups_agree_with_the_spans_and_step_from_change_to_change() -> None:
    scenario = failing(acquisitions_per_day=200.0, availability=0.9)
    mesh = Mesh(scenario)
    outages = Outages(scenario, mesh)
    link = mesh.lasers[3]
    t_s, states, steps = 0.0, [], 0
    while (t_s := outages.next_change_s(link, t_s)) < 2 * DAY_S:
        states.append(outages.is_out(link, t_s))
        steps += 1
    changes = [now for now, after in pairwise(states) if now == after]
    assert steps > 300
    # Only looks without a change, one a day at most, repeat a state.
    assert len(changes) <= 2
    again = Outages(scenario, mesh)
    probe = np.random.default_rng(1).uniform(0, 2 * DAY_S, 500)
    assert [outages.is_out(link, t) for t in probe] == [again.is_out(link, t) for t in probe]
    assert 0.02 < np.mean([outages.is_out(link, t) for t in probe]) < 0.4


def test_another_seed_has_other_outages_and_full_availability_has_none() -> None:
    scenario = failing()
    mesh = Mesh(scenario)
    other = Outages(msgspec.structs.replace(scenario, seed=2), mesh)
    assert other.of_terminal(NodeId(0), 0, 0) != Outages(scenario, mesh).of_terminal(NodeId(0), 0, 0)
    calm = Outages(world(shell()), mesh)
    assert not calm
    assert calm.next_change_s(mesh.lasers[0], 0.0) == np.inf
    assert not calm.is_out(mesh.lasers[0], 100.0)


def test_clouds_close_optical_stations_for_their_share_of_the_time() -> None:
    cloudy = Station(
        name="Telescope",
        latitude_deg=78.0,
        longitude_deg=15.0,
        min_elevation_deg=10.0,
        kind="optical",
        availability=0.65,
    )
    clear = msgspec.structs.replace(cloudy, name="Desert", availability=1.0)
    dish = msgspec.structs.replace(cloudy, name="Dish", kind="radio")
    scenario = world(shell(), stations=(cloudy, clear, dish))
    mesh = Mesh(scenario)
    outages = Outages(scenario, mesh)
    assert outages
    links = [Link(NodeId(0), station, LinkKind.RADIO) for station in mesh.station_ids]
    t_s = np.arange(0.0, 400 * DAY_S, 1800.0)
    shares = [np.mean([outages.is_out(link, moment) for moment in t_s]) for link in links]
    assert shares == [pytest.approx(0.35, abs=0.03), 0.0, 0.0]
    # All satellites lose a closed station together.
    other = Link(NodeId(7), mesh.station_ids[0], LinkKind.RADIO)
    assert [outages.is_out(other, t) for t in t_s[:500]] == [outages.is_out(links[0], t) for t in t_s[:500]]


def test_the_first_minute_is_as_bad_as_any_other() -> None:
    scenario = failing(acquisitions_per_day=200.0, availability=0.8)
    mesh = Mesh(scenario)
    dark = []
    for seed in range(1, 60):
        outages = Outages(msgspec.structs.replace(scenario, seed=seed), mesh)
        dark += [[outages.is_out(link, t_s) for t_s in (1.0, 40_000.0)] for link in mesh.lasers]
    first, later = np.mean(dark, axis=0)
    assert first == pytest.approx(later, abs=0.05)
    assert first > 0.2
