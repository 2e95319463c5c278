"""How much has crossed each kind of link since the run came up?

The event log knows, of processes that have died too: each notes what its nodes' links have carried since it began. The
log is read on from where it was left, so that asking costs what is new in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from perigrid.live.eventlog import follow_lines


@dataclass(slots=True)
class Traffic:
    """The sums over all links of a run, from its event log. One thread at a time may ask."""

    folder: Path
    full: bool = False
    _place: int = 0
    _latest: dict[tuple[str, int, str, str], tuple[str, int, int]] = field(default_factory=dict)

    def read(self) -> None:
        """Take in what was written since."""
        place = -1
        while place != self._place:
            place = self._place
            events, self._place = follow_lines(self.folder, place)
            for event in events:
                self.full = self.full or event.get("what") == "log-full"
                if event.get("what") == "traffic":
                    key = (event["process"], event["pid"], event["a"], event["b"])
                    self._latest[key] = (event["kind"], event["bytes"], event["replica_bytes"])

    def bytes_over(self, kind: str) -> int:
        """Bytes over links of a kind: "laser", "radio" or "fibre"."""
        return sum(size for found, size, _ in self._latest.values() if found == kind)

    def replica_bytes(self) -> int:
        """Bytes of copies of captures, each link that they crossed counted."""
        return sum(size for _, _, size in self._latest.values())
