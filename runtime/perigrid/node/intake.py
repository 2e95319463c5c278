"""What has come in, and is not through the equipment yet?

An intake holds each thing for a fixed time, in the order in which they came. Where that time is 0 nothing is held, so
that equipment which takes no time costs no wake-up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from perigrid.node.actions import WakeAt
from perigrid.node.events import Now

Item = TypeVar("Item")


class Intake(Generic[Item]):
    """Holds things for `delay_s` of the node's own clock; `key` names its wake-ups."""

    def __init__(self, key: str, delay_s: float) -> None:
        self.key = key
        self.delay_s = delay_s
        self._held: deque[tuple[float, Item]] = deque()

    def put(self, now: Now, item: Item) -> list[WakeAt]:
        """Hold a thing until its time is over."""
        self._held.append((now.local_s + self.delay_s, item))
        return [WakeAt(self.key, self._held[0][0])]

    def drop(self, unwanted: Callable[[Item], bool]) -> None:
        """Forget what nobody wants any more."""
        self._held = deque(held for held in self._held if not unwanted(held[1]))

    def due(self, now: Now) -> tuple[list[Item], list[WakeAt]]:
        """What is through by now, and when to look again."""
        items: list[Item] = []
        while self._held and self._held[0][0] <= now.local_s:
            items.append(self._held.popleft()[1])
        return items, [WakeAt(self.key, self._held[0][0])] if self._held else []
