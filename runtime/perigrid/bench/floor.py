"""How exactly can this machine wake anyone?

A bare thread that sleeps until given instants and does nothing else: what it is late by, no runtime on this machine can
be less late by. Usage: floor CLOCK_PAGE INSTANTS.npy; prints the errors in milliseconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from perigrid.live.clock import ClockPage


def main() -> None:
    """Sleep to each instant in turn."""
    clock, instants = ClockPage(sys.argv[1]), np.load(sys.argv[2])
    print("ready", flush=True)
    errors_ms = []
    for instant_s in instants.tolist():
        wall_s = clock.reading().wall_at(instant_s)
        left_s = wall_s - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)
            errors_ms.append((time.monotonic() - wall_s) * 1e3)
    print(json.dumps(errors_ms))


if __name__ == "__main__":
    main()
