"""What every process of the harness settles before it does anything else.

The user's environment must not change what is computed, and must not break what is printed.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import signal
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, TextIO

from harness.text import visible

_LOWER_PRECISION = (
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Variables by which libraries compute float32 in fewer bits, which no result would tell."""
_OF_THE_INTERPRETER = ("PYTHONINSPECT", "PYTHONWARNINGS")
"""Variables by which a process would not end, or a library's warning would be a failure."""
_QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)

_SPELLED = {
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "±": "+/-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "✓": "+",
    "✗": "x",
    "▲": "^",
    "▼": "v",
    "○": "o",
    "…": "...",
    "†": "*",
    "‡": "**",
    "→": "->",
    "“": '"',
    "”": '"',
    "’": "'",
}
"""For terminals whose character set lacks them."""
SPELL = "harness.spell"
"""The name of the error handler that never fails to encode."""


def prepare_process(*, utf8: bool = False) -> None:
    """Open what is closed, make output safe, clean the environment. `utf8`: the output is a log
    file, not the user's terminal.
    """
    for name in _LOWER_PRECISION:
        os.environ.pop(name, None)
    if os.environ.get("PYTHONWARNINGS"):
        warnings.resetwarnings()
        for category in _QUIET:
            warnings.simplefilter("ignore", category)
    for name in _OF_THE_INTERPRETER:
        os.environ.pop(name, None)
    _keep_own_rights()
    _open_descriptors()
    sys.stdout = _safe(sys.stdout, 1, utf8)
    sys.stderr = _safe(sys.stderr, 2, utf8)


def install_handler(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], Any]
) -> dict[signal.Signals, Any]:
    """Install `handler`, except for signals that this process was started to ignore (`nohup`, a
    script's background job); the former handlers of the others.
    """
    wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in wanted}


def output_problem() -> OSError | None:
    """Why not all of the output was written; None also where its reader has gone (`| head`)."""
    pipe = _pipe(sys.stdout)
    problem = None if pipe is None else pipe.problem
    return None if isinstance(problem, BrokenPipeError) else problem


def draw(stream: TextIO, text: str) -> None:
    """Write `text` as it is, with what moves the cursor: printed, that would be shown."""
    if isinstance(stream, _Inert):
        stream.draw(text)
    else:
        stream.write(text)


def end_without_reader() -> None:
    """From now on, a reader that goes away is a BrokenPipeError: for commands without an end."""
    pipe = _pipe(sys.stdout)
    if pipe is not None:
        pipe.strict = True


class _Pipe(io.FileIO):
    """A descriptor to write to that never fails: work does not end because nobody reads."""

    strict = False
    problem: OSError | None = None

    def write(self, data: Any) -> int:
        """All of `data`, or nothing once something has gone wrong."""
        size = memoryview(data).nbytes
        if self.problem is not None:
            return size
        try:
            written = super().write(data)
            while written is None:  # a terminal that another program made non-blocking
                select.select([], [self.fileno()], [])
                written = super().write(data)
            return written
        except OSError as error:
            self.problem = error
            if self.strict and isinstance(error, BrokenPipeError):
                raise
            return size


class _Inert(io.TextIOWrapper):
    """A stream to print to: names of files, runs and tables have no power over the terminal."""

    def write(self, text: str) -> int:
        """`text`, control characters visible."""
        super().write(visible(text))
        return len(text)

    def draw(self, text: str) -> None:
        """`text` as it is."""
        super().write(text)


def _safe(stream: TextIO | None, descriptor: int, utf8: bool) -> TextIO:
    """The same stream, without errors of writing or encoding."""
    encoding = "utf-8" if utf8 or stream is None else stream.encoding
    buffered = stream is not None and not getattr(stream, "write_through", False)
    if stream is not None:
        stream.flush()
    kind = io.TextIOWrapper if utf8 else _Inert
    return kind(
        io.BufferedWriter(_Pipe(descriptor, "w", closefd=False)),
        encoding=encoding,
        errors=SPELL,
        line_buffering=True,  # behind `| tee` too: a line may be the last for an hour
        write_through=not buffered,
    )


def _pipe(stream: TextIO) -> _Pipe | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Pipe) else None


def _open_descriptors() -> None:
    """Nothing may be opened as 0, 1 or 2 later on: prints would go into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == number, "the lowest free one is taken"
            os.set_inheritable(opened, True)


def _keep_own_rights() -> None:
    """A umask that takes the owner's rights would make folders that nobody can write into."""
    mask = os.umask(0o077)
    os.umask(mask & 0o077)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelled, error.object[error.start : error.end])), error.end


def _spelled(character: str) -> str:
    spelling = _SPELLED.get(character)
    if spelling is not None:
        return spelling
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(SPELL, _spell)
