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


def check_device(device: Device, models: tuple[str, ...]) -> None:
    """Raise ScenarioError where a device that is not this machine states no time for a model."""
    for model in models:
        if device.kind != "host" and model not in device.service_s:
            raise ScenarioError(
                f"device {device.name!r} is of kind {device.kind!r} and states no service time of model {model!r}; "
                f'add device.service_s.{model} (seconds a tile) to the scenario, or use kind = "host".'
            )


def write_service_times(folder: Path, device: Device, measured_s: dict[str, float]) -> dict[str, float]:
    """Settle the times of a run, emulated seconds a tile by model, and write them where its processes look."""
    times = measured_s if device.kind == "host" else {m: device.service_s[m] for m in measured_s}
    part = folder / f"{SERVICE_FILE}.part"
    part.write_bytes(msgspec.json.encode(times))
    part.replace(folder / SERVICE_FILE)
    return times


def read_service_times(folder: Path) -> dict[str, float]:
    """The times of a run."""
    try:
        return msgspec.json.decode((folder / SERVICE_FILE).read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError) as error:
        raise CorruptFile(f"{folder / SERVICE_FILE} cannot be read ({error}); bring the run up again.") from error
