"""What `log.txt` says of a training while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from harness.text import duration

LINE_SECONDS = 10.0
"""Between lines: a training of a minute has a handful, one of a week does not fill a disk."""


class Narrator:
    """Turns what the loop reads from the device anyway into lines; asks the device for nothing."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        start: int,
        total: int,
        per_epoch: int,
        batch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._clock = say, clock
        self._start, self._total = start, total
        self._per_epoch, self._batch = per_epoch, batch
        self._begun = clock()
        self._said: float | None = None

    def losses(self, done: int, *, loss: float, rate: float) -> None:
        """The mean loss of the last steps, unless there was a line a moment ago."""
        now = self._clock()
        if self._said is not None and now - self._said < LINE_SECONDS and done < self._total:
            return
        self._said = now
        steps, taken = done - self._start, now - self._begun
        pace = f", {steps * self._batch / taken:,.0f} images/s" if taken > 0 else ""
        left = f", {duration(taken / steps * (self._total - done))} left" if steps > 0 else ""
        self._say(
            f"{self._where(done)}, step {done} of {self._total}: loss {loss:.4g}, rate {rate:.3g}"
            f"{pace}{left}"
        )

    def evaluated(self, done: int, metrics: Mapping[str, float]) -> None:
        """What an evaluation in between found."""
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._say(f"{self._where(done)}: {shown}")

    def _where(self, done: int) -> str:
        return f"epoch {done / self._per_epoch:.3g} of {self._total / self._per_epoch:.3g}"
