"""How is the constellation, in one object?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perigrid.live.constellation import Constellation
from perigrid.live.governor import Stretch
from perigrid.live.lateness import TOLERANCE_S, Lateness
from perigrid.live.rundir import RunInfo
from perigrid.live.traffic import Traffic
from perigrid.mesh.plan import ContactPlan


def lateness_of(states: list[Any]) -> Lateness:
    """The lateness of a run, added up over its processes."""
    total = Lateness()
    for state in states:
        total = total.plus(
            Lateness(
                state.frames,
                state.frames_late,
                state.inferences,
                state.inferences_late,
                state.worst_frame_late_s,
                state.worst_inference_late_s,
                tuple(state.frames_hold),
                tuple(state.inferences_hold),
            )
        )
    return total


def lateness_fields(late: Lateness) -> dict[str, Any]:
    """Lateness as people read it, milliseconds of emulated time."""
    holds = late.rate_that_holds
    return {
        "frames": late.frames,
        "frames_late": late.frames_late,
        "inferences": late.inferences,
        "inferences_late": late.inferences_late,
        "share_late": round(late.share_late, 6),
        "worst_frame_late_ms": round(late.worst_frame_s * 1e3, 3),
        "worst_inference_late_ms": round(late.worst_inference_s * 1e3, 3),
        "tolerance_ms": TOLERANCE_S * 1e3,
        "rate_that_holds": None if holds is None else float(f"{holds:.2g}"),
    }


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a governed clock has passed, how often time stood for a hold, and holds that lasted too long."""

    stretches: tuple[Stretch, ...]
    holds: int
    forgiven: int

    @property
    def rate(self) -> float:
        """Emulated seconds a second of the wall, of late."""
        return self.stretches[-1].rate if self.stretches else 0.0

    def fields(self) -> dict[str, Any]:
        """For people and JSON: stretches from the first to the last."""
        return {
            "holds": self.holds,
            "forgiven": self.forgiven,
            "stretches": [rounded(stretch) for stretch in self.stretches],
        }


def rounded(stretch: Stretch) -> dict[str, float]:
    """A stretch of the clock's pace as the event log and the status have it."""
    return {
        "from_s": round(stretch.from_s, 6),
        "rate": float(f"{stretch.rate:.4g}"),
        "allowed": float(f"{stretch.allowed:.4g}"),
        "standing": round(stretch.standing, 4),
    }


def status(
    constellation: Constellation,
    plan: ContactPlan,
    info: RunInfo,
    service_s: dict[str, float],
    traffic: Traffic,
    pace: Pace | None = None,
) -> dict[str, Any]:
    """What `perigrid status --json` prints."""
    import msgspec

    config, mesh = constellation.config, constellation.mesh
    sky_s = constellation.clock.now_s()
    # Asked first: whoever answers has written into the event log what its links have carried.
    states = constellation.states()
    traffic.read()
    late = lateness_of(states)
    links = _links(constellation, plan, sky_s)
    device = config.scenario.device
    return {
        **msgspec.to_builtins(info),
        **({} if pace is None else {"rate": pace.rate, "pace": pace.fields()}),
        "sky_s": sky_s,
        "cores": config.cores,
        "links": links,
        "links_up": sum(link["state"] == "up" for link in links),
        "links_out": sum(link["state"] == "out" for link in links),
        "links_cut": len({tuple(sorted(ends)) for ends in constellation.overlay.cuts}),
        "satellites_up": mesh.satellite_count - len(constellation.dead_satellites),
        "satellites_lost": sorted(constellation.dead_satellites),
        "valid_for_latency": None if config.free else late.valid,
        "lateness": lateness_fields(late),
        "bytes_over_lasers": traffic.bytes_over("laser"),
        "bytes_over_ground_links": traffic.bytes_over("radio"),
        "frames_lost": sum(s.frames_lost for s in states),
        "frames_dropped": sum(s.frames_dropped for s in states),
        "frames_refused": sum(s.frames_refused for s in states),
        "event_log_full": traffic.full,
        "bytes_of_replicas": traffic.replica_bytes(),
        "device": {"name": device.name, "kind": device.kind, "slots": device.slots, "service_s": service_s},
        "cpu_s": round(sum(s.busy_cpu_s for s in states), 3),
        "plan_horizon_s": plan.horizon_s,
    }


def _links(constellation: Constellation, plan: ContactPlan, sky_s: float) -> list[dict[str, Any]]:
    """Every link that there is now, planned or lasting, and how it is."""
    mesh = constellation.mesh
    links = []
    lasting = frozenset((*mesh.lasers, *mesh.fibres))
    for link in plan.links:
        state = plan.state(link, sky_s)
        word = constellation.link_state(link, sky_s, state.up)
        # Who could meet and does not now is no link; what always points at the same node is one, up or not.
        if not state.up and link not in lasting:
            continue
        links.append(
            {
                "a": mesh.names[link.a],
                "b": mesh.names[link.b],
                "kind": link.kind.name.lower(),
                "state": word,
                "range_km": round(state.range_km, 3),
                "delay_ms": round(state.delay_s * 1e3, 4),
                "rate_bps": state.rate_bps if word == "up" else 0.0,
                "back_bps": state.back_bps if word == "up" else 0.0,
            }
        )
    return links
