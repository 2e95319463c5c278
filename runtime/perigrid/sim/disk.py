"""What survives a crash in simulation?

A journal keeps what was committed and loses what was only written. Flash keeps whole files. A commit takes as long
as it is told to, so that a crash can fall between writing and durability.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perigrid.node.actions import Action
from perigrid.node.events import HeldResult
from perigrid.node.records import Record
from perigrid.sim.models import SimModels


@dataclass(slots=True)
class SimFlash:
    """One satellite's flash: captures by name, results by (job, shard), and models that were pushed."""

    captures: dict[str, bytes] = field(default_factory=dict)
    results: dict[tuple[str, int], HeldResult] = field(default_factory=dict)
    models: SimModels = field(default_factory=SimModels)


@dataclass(slots=True)
class SimJournal:
    """The ground's journal: `durable` records, and batches written but not yet committed."""

    durable: list[Record] = field(default_factory=list)
    written: list[tuple[tuple[Record, ...], tuple[Action, ...]]] = field(default_factory=list)

    def write(self, records: tuple[Record, ...], then: tuple[Action, ...]) -> None:
        """Append a batch; nothing of it is durable yet."""
        self.written.append((records, then))

    def commit(self) -> list[Action]:
        """Make everything written durable, as one group; the actions that waited for it."""
        batches, self.written = self.written, []
        actions: list[Action] = []
        for records, then in batches:
            self.durable.extend(records)
            actions.extend(then)
        return actions

    def crash(self) -> None:
        """Lose what was not committed."""
        self.written.clear()
