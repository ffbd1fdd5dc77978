"""What `harness run` shows while it works: a block that is redrawn, or plain lines for a log."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from harness.process import draw
from harness.spec.expand import Expansion, Run
from harness.spec.table import Column
from harness.store import Progress
from harness.text import duration, enough_decimals, number

REDRAW_SECONDS = 0.5
LINE_SECONDS = 15.0
MOST_SHOWN = 12
"""Running runs in the block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
    """A run that is being computed now."""

    name: str
    progress: Progress | None = None
    eta: float | None = None  # seconds
    latest: str = ""  # what it has come to so far, "Top-1 71.3 %"
    elsewhere: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """How far everything is."""

    total: int
    done: int
    failed: int
    blocked: int
    active: Sequence[Active]
    left: float  # seconds, estimated
    waiting: str = ""  # why nothing is started, "waiting for ..."


class Display:
    """Writes to a terminal or a log; `say` is for lines that stay."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._height = 0
        self._last = 0.0 if self._live else time.monotonic()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._erase()
        self._write(line + "\n")

    def warn(self, line: str) -> None:
        """The same on stderr, which has what went wrong."""
        self._erase()
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def due(self) -> bool:
        """Whether a new snapshot would be shown."""
        return time.monotonic() - self._last >= (REDRAW_SECONDS if self._live else LINE_SECONDS)

    def update(self, snapshot: Snapshot) -> None:
        """Show how far everything is."""
        self._last = time.monotonic()
        if not self._live:
            waiting = f"; {snapshot.waiting}" if snapshot.waiting else ""
            active = "".join(_brief(one) for one in snapshot.active)
            self._write(_summary(snapshot) + active + waiting + "\n")
            return
        width = shutil.get_terminal_size().columns - 1
        lines = [_summary(snapshot), *(_detail(one) for one in snapshot.active[:MOST_SHOWN])]
        if len(snapshot.active) > MOST_SHOWN:
            lines.append(f"  and {len(snapshot.active) - MOST_SHOWN} more")
        lines = [line[:width] for line in lines]
        if snapshot.waiting:  # whole: its end says what to do
            lines += textwrap.wrap(f"  {snapshot.waiting}", width, subsequent_indent="  ")
        self._erase()
        self._write("".join(line + "\n" for line in lines))
        self._height = len(lines)

    def close(self) -> None:
        """Remove the block."""
        self._erase()

    def _erase(self) -> None:
        if self._height:
            self._write("", move=f"\x1b[{self._height}F\x1b[J")
            self._height = 0

    def _write(self, text: str, *, move: str = "") -> None:
        try:
            draw(self._stream, move)
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone or the pipe closed: the runs matter more
            self._live, self._height = False, 0


def column_of(
    expansion: Expansion, run: Run, found: Collection[str] | None = None
) -> Column | None:
    """The first column of the table that this run fills, of those whose metric it has `found`."""
    for column in expansion.table.columns.values():
        if found is None or column.metric in found:
            filled = (row.runs.get(column.id, ()) for row in expansion.rows)
            if any(run.identity in runs for runs in filled):
                return column
    return None


def value_of(column: Column, value: float) -> str:
    """A value with the column's name and unit."""
    text = f"{column.label} {number(value, enough_decimals(value, column.decimals))}"
    return text if column.unit in column.label else f"{text} {column.unit}"


def headline(expansion: Expansion, run: Run, result: Mapping[str, float]) -> str:
    """The first column of the table that this run fills, with its value."""
    column = column_of(expansion, run, result)
    if column is not None:
        return value_of(column, result[column.metric])
    return ", ".join(f"{name} {value:g}" for name, value in list(result.items())[:1])


def _summary(snapshot: Snapshot) -> str:
    parts = [f"{snapshot.done} of {snapshot.total} runs done"]
    parts += [f"{snapshot.failed} failed"] * bool(snapshot.failed)
    parts += [f"{snapshot.blocked} blocked"] * bool(snapshot.blocked)
    return ", ".join(parts) + f", about {duration(snapshot.left)} left"


def _detail(active: Active) -> str:
    where = "  (another harness run)" if active.elsewhere else ""
    if active.progress is None:
        return f"  {active.name}  ...{where}"
    fraction = active.progress.done / max(1, active.progress.total)
    eta = "" if active.eta is None else f"  {duration(active.eta)} left"
    latest = f"  {active.latest}" if active.latest else ""
    bar = "#" * round(20 * min(1.0, fraction))
    unit = f"{active.progress.unit} {active.progress.done}/{active.progress.total}"
    return f"  [{bar:<20}] {fraction:4.0%} {active.name}  {unit}{latest}{eta}{where}"


def _brief(active: Active) -> str:
    if active.progress is None:
        return f"; {active.name}"
    latest = f" ({active.latest})" if active.latest else ""
    return f"; {active.name} {active.progress.done / max(1, active.progress.total):.0%}{latest}"
