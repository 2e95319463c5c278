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
    """Settle the times of a run, emulated seconds a tile by model, and write them where its processes look.

    What was settled before stays: a model's time does not change while a run is up.
    """
    path = folder / SERVICE_FILE
    known = ServiceTimes(folder).all() if path.exists() else {}
    times = {**(measured_s if device.kind == "host" else device.service_s), **known}
    part = folder / f"{SERVICE_FILE}.part"
    part.write_bytes(msgspec.json.encode(times))
    part.replace(path)
    return times


class ServiceTimes:
    """The times of a run, read when one is first asked for that is not known here."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SERVICE_FILE
        self._times: dict[str, float] = {}

    def __call__(self, model: str) -> float:
        """Emulated seconds a tile of a model; CorruptFile where nobody has settled it."""
        if model not in self._times:
            self._times = self.all()
        if model not in self._times:
            raise CorruptFile(f"{self._path} has no time of model {model!r}; bring the run up again.")
        return self._times[model]

    def all(self) -> dict[str, float]:
        """The times in the file now."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError) as error:
            raise CorruptFile(f"{self._path} cannot be read ({error}); bring the run up again.") from error
