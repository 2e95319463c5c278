"""In which order do flows that share a link take turns?

Frames of one flow keep their order; flows take turns, one frame each, so that two transfers over one laser share its
rate and neither waits for the other's end. The order depends on what was put in and taken out alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Round robin over flows."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, deque[Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        """Everything that waits, flow by flow."""
        for items in self._flows.values():
            yield from items

    def put(self, flow: Hashable, item: Item) -> None:
        """Add an item at the end of its flow; a new flow comes last in turn."""
        self._flows.setdefault(flow, deque()).append(item)
        self._count += 1

    def heads(self) -> list[Item]:
        """The next item of each flow, in the order of turns."""
        return [items[0] for items in self._flows.values()]

    def peek(self) -> Item:
        """What `take` gives; IndexError where nothing waits."""
        if not self._flows:
            raise IndexError("nothing waits")
        return next(iter(self._flows.values()))[0]

    def take(self, may: Callable[[Item], bool] = lambda item: True) -> Item:
        """Take the next item, of the first flow in turn whose head `may` be taken; that flow goes to the end.

        IndexError where there is none.
        """
        for flow, items in self._flows.items():
            if may(items[0]):
                item = items.popleft()
                self._count -= 1
                del self._flows[flow]
                if items:
                    self._flows[flow] = items
                return item
        raise IndexError("nothing waits")

    def clear(self) -> None:
        """Forget everything."""
        self._flows.clear()
        self._count = 0
