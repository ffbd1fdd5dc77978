"""The newest value of a metric in the `metrics.jsonl` of a run that is being computed."""

from __future__ import annotations

from pathlib import Path

from harness.store.files import number_in, parsed
from harness.store.record import METRICS


class LatestValue:
    """Reads only what has been added since the last look."""

    def __init__(self, directory: Path, metric: str) -> None:
        self.directory = directory
        self._metric = metric
        self._read = 0  # bytes, of whole lines
        self._value: float | None = None

    def look(self) -> float | None:
        """The value; None where there is none yet. What cannot be read shows another time."""
        try:
            with (self.directory / METRICS).open("rb") as file:
                if file.seek(0, 2) < self._read:  # it was cut back to a checkpoint
                    self._read, self._value = 0, None
                file.seek(self._read)
                added = file.read()
        except OSError:
            return self._value
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._value = self._of(line, self._value)
        return self._value

    def _of(self, line: bytes, before: float | None) -> float | None:
        try:
            value = number_in(parsed(line).get(self._metric))
        except (ValueError, AttributeError):
            return before
        return before if value is None else value
