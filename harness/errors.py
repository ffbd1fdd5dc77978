"""The errors a user can cause, each one message that says where, what, what is allowed and what to
do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

LONGEST_NAME, MOST_NAMES = 120, 60  # characters of a name in a message, and names


def cause(error: OSError) -> str:
    """What the system says, as people say it: `permission denied`."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


class HarnessError(Exception):
    """A user's mistake or an environment's lack: printed without a traceback, exit code 1."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing wrong with a spec, at one place."""

    where: Location
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class SpecError(HarnessError):
    """Everything wrong with one spec, all shown at once."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        assert problems, "a SpecError needs at least one problem"
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class FieldError(ValueError):
    """Raised by a config object's `__post_init__`: names the field, so that a spec can point at its
    line. A field of a field is a path, `method.mask.keep`; the text then begins with the last name.
    """

    def __init__(self, field: str, what: str) -> None:
        self.field, self.what = field, what
        super().__init__(f"{field.rpartition('.')[2]}: {what}" if "." in field else what)


class DataError(HarnessError):
    """A data set is missing, incomplete or corrupt."""


class WeightsError(HarnessError):
    """Weights or a checkpoint are missing, truncated or of another model."""


class RunFailed(HarnessError):
    """A run cannot go on (a loss that is not finite, say); it is kept as failed and never counts as
    a result.
    """


class Interrupted(Exception):
    """A run was asked to stop and has saved its checkpoint; it is resumed by the next call."""


class StoppedAlone(Interrupted):
    """As Interrupted, of one process: it could not stop after a step, as several of a run do
    together, and others may be waiting for it.
    """


def unknown(kind: str, name: str, valid: Sequence[str]) -> str:
    """The text for a name that does not exist: the nearest valid one, then all of them, or as many
    as one reads.
    """
    close = [one for one in valid if one.lower() == name.lower()]
    if not close and len(name) <= LONGEST_NAME:
        close = get_close_matches(name, valid, n=1)
    if not close and len(name) <= LONGEST_NAME:  # `tabel2` for `maskedkd/table2`
        ends = {one.rpartition("/")[2]: one for one in valid}
        close = [ends[end] for end in get_close_matches(name, ends, n=1)]
    hint = f"; did you mean '{close[0]}'?" if close else ""
    shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    names = ", ".join(sorted(valid)[:MOST_NAMES])
    more = f" and {len(valid) - MOST_NAMES} more" if len(valid) > MOST_NAMES else ""
    choices = f"valid: {names}{more}" if valid else "there are none"
    shown = shown.replace("\n", "\\n")  # the message is one line
    return f"unknown {kind} '{shown}'{hint} ({choices})"
