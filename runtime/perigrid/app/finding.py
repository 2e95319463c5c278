"""Which run does the user mean, up or not?

A run's directory outlives it: its event log, its report and its repetition are asked for by a name under --root, or by
the path of the directory, wherever that lies. Commands that need a run that is up ask `RunDirectory.find`.
"""

from __future__ import annotations

from pathlib import Path

from perigrid.errors import MissingFile
from perigrid.live.config import CONFIG_FILE
from perigrid.live.rundir import RunDirectory

MAX_NAMES_SHOWN = 8


def find_run(root: Path, wanted: str | None) -> RunDirectory:
    """The run of that name under `root`, or in the directory of that path.

    With None it is the only run that there is, or else the only one that is up. MissingFile with the runs that there
    are where none is meant.
    """
    known = [run for run in RunDirectory.all(root) if is_run(run.path)]
    if wanted is None:
        up = known if len(known) == 1 else [run for run in known if run.is_up()]
        if len(up) == 1:
            return up[0]
        raise MissingFile(f"which run? Under {root} there are: {_named(known)}; name one, or give its directory.")
    for folder in (root / wanted, Path(wanted)):
        if is_run(folder):
            return RunDirectory(folder.resolve())
    raise MissingFile(
        f"{wanted!r} is neither a run under {root} (there are: {_named(known)}) nor a run's directory; name one of "
        "them, or say with --root where the runs are."
    )


def is_run(folder: Path) -> bool:
    """Whether a folder is one that a run was started from."""
    return (folder / CONFIG_FILE).is_file()


def _named(runs: list[RunDirectory]) -> str:
    names = [run.name for run in runs]
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more or "none"
