"""How long does an inference last in orbit, in this run?

A device of kind `host` takes the CPU time that one tile costs here, measured before anything else runs; the others
state it. The times of a run are written once, so that every process of it, and every restart, uses the same.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from perigrid.errors import CorruptFile, ScenarioError
from perigrid.scenario.model import Device

SERVICE_FILE = "service_times.json"
MEASURED_TILES = 7


def write_service_times(folder: Path, device: Device, measured_s: dict[str, float]) -> dict[str, float]:
    """Settle the times of a run, emulated seconds a tile by model; ScenarioError where the device states none."""
    times: dict[str, float] = {}
    for model, host_s in measured_s.items():
        if device.kind == "host":
            times[model] = host_s
        elif model in device.service_s:
            times[model] = device.service_s[model]
        else:
            raise ScenarioError(
                f"device {device.name!r} is of kind {device.kind!r} and states no service time of model {model!r}; "
                f'add device.service_s.{model} (seconds a tile) to the scenario, or use kind = "host".'
            )
    (folder / SERVICE_FILE).write_bytes(msgspec.json.encode(times))
    return times


def read_service_times(folder: Path) -> dict[str, float]:
    """The times of a run."""
    try:
        return msgspec.json.decode((folder / SERVICE_FILE).read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError) as error:
        raise CorruptFile(
            f"{folder / SERVICE_FILE} cannot be read ({error}); bring the run up again."
        ) from error
