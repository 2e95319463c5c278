"""What does the world do to a simulated constellation, and when?

One seed decides everything: which frames are lost, doubled or delayed, when links are cut and satellites crash.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from perigrid.scenario.model import Fault


@dataclass(frozen=True, slots=True)
class Weather:
    """How rough the links are: probabilities per frame, and the most that a frame is late beyond its due time."""

    loss: float = 0.0
    duplicate: float = 0.0
    jitter_s: float = 0.0


CALM = Weather()


def random_faults(
    generator: random.Random, links: list[tuple[str, str]], satellites: list[str], span_s: float
) -> tuple[Fault, ...]:
    """Cuts and kills at random times within `span_s`, each healed or rebooted by its end."""
    faults: list[Fault] = []
    for a, b in generator.sample(links, k=min(len(links), generator.randint(0, 2))):
        start_s = generator.uniform(0, span_s / 2)
        faults.append(Fault(at_s=start_s, action="cut", a=a, b=b))
        faults.append(Fault(at_s=generator.uniform(start_s, span_s), action="heal", a=a, b=b))
    for name in generator.sample(satellites, k=min(len(satellites), generator.randint(0, 2))):
        start_s = generator.uniform(0, span_s / 2)
        faults.append(Fault(at_s=start_s, action="kill", a=name))
        faults.append(Fault(at_s=generator.uniform(start_s, span_s), action="reboot", a=name))
    return tuple(sorted(faults, key=lambda f: f.at_s))
