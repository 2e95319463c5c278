"""How does a user see that something is going on?

On a terminal a bar or a table is drawn with rich, which is imported only then; elsewhere plain lines say what
changed. All of it goes to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from perigrid.app.jobs import RunEvent, Settling, Started
from perigrid.app.scenarios import Say, utc_at
from perigrid.live.clients import ConnectionLost, Delivered, JobSummary, RunStatus
from perigrid.node.records import ShardFailed
from perigrid.report.outcome import validity

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

SETTLING = "waiting until this machine is measured and every capture's copies are in place"
LINES_A_JOB = 10
"""How many plain lines say how far a job is."""

MAX_JOBS_SHOWN = 8


class JobDisplay(Protocol):
    """Shows one job's progress; a context manager in all but name: `close` is called once at the end."""

    def show(self, event: RunEvent) -> None:
        """Something happened."""

    def close(self) -> None:
        """The job is over, or was left."""


def moment_of(status: RunStatus, sky_s: float) -> str:
    """Where the sky stands at a sky time, as a moment in UTC."""
    return utc_at(datetime.fromisoformat(status.epoch), status.orbit_rate * sky_s)


def waiting_line(started: Started) -> str | None:
    """What an admitted job waits for, and when that ends; None where it waits for nothing."""
    admitted, status = started.admitted, started.status
    if not admitted.waits_for:
        return None
    line = f"job {admitted.job} waits: {admitted.waits_for.rstrip('.')}"
    if admitted.until_sky_s is None:
        return f"{line}; no contact is planned within the horizon of the contact plan"
    sky_s = max(0.0, admitted.until_sky_s - status.sky_s)
    moment = moment_of(status, admitted.until_sky_s)
    here_s = sky_s / status.rate if status.rate > 0 else float("inf")
    return f"{line}; the next contact is at {moment} in orbit: in {sky_s:.0f} s there, {here_s:.0f} s here"


def started_lines(started: Started) -> list[str]:
    """What is said when a job is admitted."""
    admitted, spec = started.admitted, started.spec
    again = ", submitted before" if admitted.again else ""
    lines = [
        f"job {spec.job}: {spec.model} on {spec.dataset}, {admitted.tiles} tiles in {admitted.shards} shards{again}"
    ]
    waits = waiting_line(started)
    return lines if waits is None else [*lines, waits]


class Tally:
    """Counts what a job has brought so far."""

    def __init__(self) -> None:
        self.shards = 0
        self.done = 0
        self.failed = 0
        self.tiles = 0
        self.attempts = 0
        self._start_s = time.monotonic()

    def begin(self, shards: int) -> None:
        """The job is admitted: time counts from now."""
        self.shards = shards
        self._start_s = time.monotonic()

    def take(self, event: Delivered) -> None:
        """Count one ending."""
        ending = event.row.ending
        self.done += 1
        if isinstance(ending, ShardFailed):
            self.failed += 1
            return
        self.tiles += len(event.row.tiles)
        self.attempts += ending.attempt

    @property
    def tiles_per_s(self) -> float:
        """Tiles a second of the wall since the start."""
        return self.tiles / max(time.monotonic() - self._start_s, 1e-3)

    def text(self) -> str:
        """What stands beside the bar."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.attempts} attempts{failed}, {self.tiles_per_s:.1f} tiles/s"


class PlainJob:
    """Says how far a job is, in at most LINES_A_JOB lines."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._tally = Tally()
        self._steps = 0

    def show(self, event: RunEvent) -> None:
        """Say what happened, if it is worth a line."""
        tally = self._tally
        if isinstance(event, Started):
            tally.begin(event.admitted.shards)
            for line in started_lines(event):
                self._say(line)
        elif isinstance(event, Settling):
            self._say(SETTLING)
        elif isinstance(event, ConnectionLost):
            self._say(f"connection lost ({event.cause}); trying again in {event.after_s:.1f} s")
        elif isinstance(event, Delivered):
            tally.take(event)
            steps = LINES_A_JOB * tally.done // max(tally.shards, 1)
            if steps > self._steps:
                self._steps = steps
                self._say(f"{tally.done} of {tally.shards} shards, {tally.text()}")

    def close(self) -> None:
        """Nothing is left to be said."""


class DrawnJob:
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._tally = Tally()
        self._progress = Progress(
            TextColumn("shards"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
        )
        self._bar = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, event: RunEvent) -> None:
        """Move the bar, or say something above it."""
        console = self._progress.console
        if isinstance(event, Started):
            for line in started_lines(event):
                console.print(line, highlight=False, markup=False)
            self._tally.begin(event.admitted.shards)
            self._progress.update(self._bar, total=event.admitted.shards)
        elif isinstance(event, Settling):
            console.print(SETTLING, highlight=False, markup=False)
        elif isinstance(event, ConnectionLost):
            line = f"connection lost ({event.cause}); trying again in {event.after_s:.1f} s"
            console.print(line, highlight=False, markup=False)
        elif isinstance(event, Delivered):
            self._tally.take(event)
            self._progress.update(self._bar, completed=self._tally.done, description=self._tally.text())

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()


def job_display(terminal: bool, say: Say) -> JobDisplay:
    """The display that fits where progress goes."""
    return DrawnJob() if terminal else PlainJob(say)


def status_rows(status: RunStatus, satellites: int, jobs: Sequence[JobSummary]) -> list[tuple[str, str]]:
    """A constellation's state for a reader: what, and how it is."""
    lost = f", lost: {', '.join(status.satellites_lost)}" if status.satellites_lost else ""
    faster = "" if status.orbit_rate == 1.0 else f", orbit rate {status.orbit_rate:g}"
    passed = f"{status.sky_s:.1f} s after the epoch, rate {status.rate:.3g}{faster}, {status.mode}"
    out = f", {status.links_out} out" if status.links_out else ""
    rows = [
        ("in orbit", f"{moment_of(status, status.sky_s)}, {passed}"),
        ("satellites up", f"{status.satellites_up} of {satellites}{lost}"),
        ("links up", f"{status.links_up} of {len(status.links)}, {status.links_cut} cut{out}"),
    ]
    for job in jobs[-MAX_JOBS_SHOWN:]:
        state = f"{job.state}, {job.shards_done} of {job.shards} shards, {job.attempts} attempts"
        rows.append((f"job {job.job}", state))
    if not status.settled:
        rows.append(("settling", "this machine is being measured, and captures copied"))
    rows.append(("times", validity(status)))
    return rows


class PlainRun:
    """Says what changed in a constellation's state; time, which always changes, does not count."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last: list[tuple[str, str]] = []

    def show(self, rows: list[tuple[str, str]]) -> None:
        """Say the rows that are new; what always changes comes with them."""
        moment, rest = rows[0], rows[1:]
        new = [row for row in rest if row not in self._last and row[0] != "times"]
        if new:
            self._say(f"{moment[1].split(',')[0]}: " + "; ".join(f"{what} {how}" for what, how in new))
        self._last = rest

    def close(self) -> None:
        """Nothing is left to be said."""


class DrawnRun:
    """A live table on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live: Live = Live(console=Console(file=sys.stderr), auto_refresh=False)
        self._live.start()

    def show(self, rows: list[tuple[str, str]]) -> None:
        """Draw the rows anew."""
        self._live.update(_table(rows), refresh=True)

    def close(self) -> None:
        """Leave the table as it stands."""
        self._live.stop()


def run_display(terminal: bool, say: Say) -> PlainRun | DrawnRun:
    """The display that fits where progress goes."""
    return DrawnRun() if terminal else PlainRun(say)


def _table(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for what, how in rows:
        table.add_row(Text(what, style="bold"), Text(how))
    return table
