"""Where did the time of an answered request go?

Stages in the order of a request's way; they add up to the time from asking to answering. A request that was not traced
has coarser ones: what it waited for in front of links is then in its links' own.
"""

from __future__ import annotations

from perigrid.mesh.way import Leg, stage_sums
from perigrid.node.frames import Stages
from perigrid.node.replies import Answered, Observed

STAGES = (
    "gateway",
    "ground_queue",
    "contact_wait",
    "uplink",
    "lasers_up",
    "satellite_queue",
    "inference",
    "keep",
    "lasers_down",
    "downlink",
    "ground_inference",
    "settle",
)
"""Where time can go, in the order of a request's way: gateway and controller; all that it was held for want of a way;
radio and fibre up; lasers up; in front of the computer; the computer; writing the result to flash; lasers down; radio
and fibre down; the ground's computer, for what came down raw (its queue is part of `ground_queue`); settling."""

REQUEST_STAGES = tuple(stage for stage in STAGES if stage != "ground_inference")
"""Those of a client's request, which is inferred in orbit."""


def request_stages(answer: Answered) -> dict[str, float]:
    """Emulated seconds by stage; all of them for a traced request."""
    stages = answer.stages
    before = {
        "gateway": answer.gateway_s,
        "ground_queue": stages.sent_sky_s - answer.asked_sky_s - answer.gateway_s,
    }
    if stages.up and answer.down:
        return before | answer_stages(stages, answer.down, answer.answered_sky_s)
    links = {
        "uplink": stages.up_ground_s,
        "lasers_up": stages.up_laser_s,
        "lasers_down": answer.down_laser_s,
        "downlink": answer.down_ground_s,
    }
    board = {"satellite_queue": stages.queue_s, "inference": stages.inference_s}
    known_s = sum((before | links | board).values())
    return before | links | board | {"settle": answer.answered_sky_s - answer.asked_sky_s - known_s}


def answer_stages(stages: Stages, down: tuple[Leg, ...], answered_sky_s: float) -> dict[str, float]:
    """The stages from the last bit on the ground's first link on; `up` may be empty for what began on board."""
    ended_s = stages.arrived_sky_s + stages.queue_s + stages.inference_s
    late_s = stages.arrived_sky_s - stages.up[-1].due_s if stages.up else 0.0
    return {
        **stage_sums(stages.up, down),
        # An arrival that the desk released late has waited here.
        "satellite_queue": stages.queue_s + late_s,
        "inference": stages.inference_s,
        "keep": down[0].here_s - ended_s,
        "settle": answered_sky_s - down[-1].due_s,
    }


def observed_stages(frame: Observed) -> dict[str, float]:
    """Emulated seconds by stage of a sensor's frame, from its exposure to its answer on the ground.

    Of a frame that was shared out they are those of the part that came last.
    """
    ground = {"ground_queue": frame.ground_queue_s, "ground_inference": frame.ground_inference_s}
    if not frame.down:
        known_s = sum(ground.values()) + frame.stages.queue_s + frame.stages.inference_s
        rest_s = frame.answered_sky_s - frame.taken_sky_s - known_s
        return {
            **ground,
            "satellite_queue": frame.stages.queue_s,
            "inference": frame.stages.inference_s,
            "downlink": rest_s,
        }
    stages = answer_stages(frame.stages, frame.down, frame.answered_sky_s)
    # What a neighbour's part took until it set out belongs to its way.
    up = frame.stages.up
    began_s = frame.stages.arrived_sky_s if not up else up[-1].due_s - sum(leg.due_s - leg.here_s for leg in up)
    stages["keep"] += began_s - frame.taken_sky_s
    stages["settle"] -= sum(ground.values())
    return ground | stages
