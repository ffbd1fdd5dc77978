"""What is told while data is being got: lines that stay, and one that says how far it is."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from harness.process import draw
from harness.text import duration

REDRAW_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Between two lines about the same download, where nothing can be drawn again."""
_FROM_THE_START = "\r\x1b[K"


class Telling:
    """Writes to a terminal, where one line is drawn again and again, or plain lines to a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._drawn = False

    def say(self, line: str) -> None:
        """A line that stays."""
        self._write(line + "\n", move=_FROM_THE_START if self._drawn else "")
        self._drawn = False

    @contextmanager
    def showing(self, state: Callable[[], str], what: str) -> Iterator[None]:
        """Show `state()`, the time so far and then `what`, again and again, until the end."""
        over, start = threading.Event(), time.monotonic()

        def look() -> None:
            while not over.wait(REDRAW_SECONDS if self._live else LINE_SECONDS):
                self._show(f"  {state()}, {duration(time.monotonic() - start)}: {what}")

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self._erase()

    def _show(self, line: str) -> None:
        if not self._live:
            self._write(line + "\n")
            return
        width = shutil.get_terminal_size().columns - 1
        self._write(line[:width], move=_FROM_THE_START)
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._write("", move=_FROM_THE_START)
            self._drawn = False

    def _write(self, text: str, *, move: str = "") -> None:
        with suppress(OSError, ValueError):  # nobody listens: the data matters more
            draw(self._stream, move)
            self._stream.write(text)
            self._stream.flush()
