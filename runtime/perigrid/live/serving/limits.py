"""How much does a worker take in?

Each bound has a name, a default and, where people have reason to move it, an environment variable that is read when a
server starts. What is past a bound is refused with RESOURCE_EXHAUSTED, never queued without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perigrid.errors import UsageError
from perigrid.units import MIB

RESERVED_CALLS = 16
"""Calls beyond those that wait or stream: those that compute, and questions that compute nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker.

    Args:
        max_message_bytes: largest request or response; gRPC's own default of 4 MiB is less than a batch of tiles.
        max_waiting: requests that wait to be computed.
        max_waiting_bytes: bytes of those requests' messages.
        max_streams: open streams, of inferences and of reflection; each holds a thread.
        max_watchers: calls of the health service's Watch that are open.
    """

    max_message_bytes: int = 64 * MIB
    max_waiting: int = 64
    max_waiting_bytes: int = 512 * MIB
    max_streams: int = 32
    max_watchers: int = 64

    @property
    def calls(self) -> int:
        """Calls handled at once, and threads for them; gRPC itself refuses the next."""
        return self.max_waiting + self.max_streams + RESERVED_CALLS


_MOVABLE = {
    "PERIGRID_MAX_MESSAGE_MIB": ("max_message_bytes", MIB, 1, 1024),
    "PERIGRID_MAX_WAITING": ("max_waiting", 1, 1, 1024),
    "PERIGRID_MAX_WAITING_MIB": ("max_waiting_bytes", MIB, 1, 65_536),
    "PERIGRID_MAX_STREAMS": ("max_streams", 1, 0, 256),
}
"""Variable -> field, its unit, the smallest and the largest value. Protobuf itself ends at 2 GiB."""


def limits_from(environment: Mapping[str, str]) -> Limits:
    """The bounds that an environment asks for; UsageError for a value that is none."""
    found = {}
    for variable, (field, unit, smallest, largest) in _MOVABLE.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if not text.isdecimal() or not smallest <= int(text) <= largest:
            raise UsageError(
                f"the environment has {variable}={text!r}: give a whole number from {smallest} to {largest}, or leave "
                "it out."
            )
        found[field] = int(text) * unit
    return Limits(**found)
