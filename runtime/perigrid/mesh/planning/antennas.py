"""Which satellite does each antenna of a station serve?

An antenna serves one satellite at a time, from the moment it is free until that satellite sets; then the station's
policy says who of those in sight comes next:

    longest_backlog     who has waited longest since it was last served by this station within the hour (data are
                        taken to gather evenly, as the plan is made before there are any)
    round_robin         the next one in the order of node ids after the one served last
    highest_elevation   who stands highest now, and so has the shortest way

Of equals the one that stays longer in sight, then the one with the smaller id. Policies do not break off a service:
every new pointing costs acquisition.
"""

import heapq
from collections.abc import Callable, Set

from perigrid.mesh.planning.services import Service
from perigrid.scenario.model import AntennaPolicy

Height = Callable[[list[int], float], list[float]]
"""How high each of some satellites stands over the station at a time, in any measure that grows with elevation."""


class Antennas:
    """The antennas of one station over one hour that starts at `low_s`."""

    def __init__(self, station: int, count: int, policy: AntennaPolicy, low_s: float, height: Height) -> None:
        self._station = station
        self._count = count
        self._policy = policy
        self._low_s = low_s
        self._height = height
        self._served_until_s: dict[int, float] = {}
        self._last = -1

    def serve(self, passes: list[tuple[float, float, int]], held: Set[int] = frozenset()) -> list[Service]:
        """Services out of passes (rise_s, set_s, satellite) cut to the hour, in the order of their starts.

        `held` are satellites that are being served as the hour starts, and go on to be.
        """
        coming = sorted(passes)
        going_on = [one for one in coming if one[0] == self._low_s and one[2] in held][: self._count]
        services = [Service(one[2], self._station, one[0], one[1]) for one in going_on]
        self._served_until_s = {one.a: one.end_s for one in services}
        coming = [one for one in coming if one not in going_on]
        waiting: list[tuple[float, float, int]] = []
        free_at_s = [one.end_s for one in services] + [self._low_s] * (self._count - len(services))
        heapq.heapify(free_at_s)
        while coming or waiting:
            # The next moment at which an antenna is free and someone is in sight.
            now_s = free_at_s[0]
            if not waiting and coming:
                now_s = max(now_s, coming[0][0])
            while coming and coming[0][0] <= now_s:
                waiting.append(coming.pop(0))
            waiting = [one for one in waiting if one[1] > now_s]
            if not waiting:
                if not coming:
                    break
                heapq.heapreplace(free_at_s, max(now_s, coming[0][0]))
                continue
            chosen = self._choose(waiting, now_s)
            waiting.remove(chosen)
            _, set_s, satellite = chosen
            heapq.heapreplace(free_at_s, set_s)
            services.append(Service(satellite, self._station, now_s, set_s))
            self._served_until_s[satellite] = set_s
            self._last = satellite
        return services

    def _choose(self, waiting: list[tuple[float, float, int]], now_s: float) -> tuple[float, float, int]:
        satellites = [one[2] for one in waiting]
        if self._policy == "round_robin":
            ranks = [float((satellite <= self._last, satellite)[0]) for satellite in satellites]
            # Those after the last one first, each group in the order of ids.
            return min(zip(ranks, satellites, waiting, strict=True))[2]
        if self._policy == "highest_elevation":
            ranks = [-height for height in self._height(satellites, now_s)]
        else:
            ranks = [self._served_until_s.get(satellite, self._low_s - 1.0) for satellite in satellites]
        return min(zip(ranks, [-one[1] for one in waiting], satellites, waiting, strict=True))[3]
