"""A run directory as read back: what it was asked to compute, how far it is, what came out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.spec.expand import Title
from harness.store.files import read_json, read_json_or_nothing, seconds_of
from harness.store.lease import latest_attempt

SCHEMA = 1
"""Of run.json; raised when older run directories can no longer be read."""

PLANNED: Final = "planned"
QUEUED: Final = "queued"
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
DONE: Final = "done"
FAILED: Final = "failed"
STATES: Final = (PLANNED, QUEUED, RUNNING, INTERRUPTED, DONE, FAILED)

RUN, STATE, RESULT, ENVIRONMENT = "run.json", "state.json", "result.json", "environment.json"
METRICS, LOG = "metrics.jsonl", "log.txt"
CHECKPOINT, CHECKPOINT_NOTES = "checkpoint.pt", "checkpoint.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    unit: str

    @classmethod
    def read(cls, value: object) -> Self | None:
        """From JSON; None where there is none."""
        if not isinstance(value, Mapping):
            return None
        try:
            return cls(done=int(value["done"]), total=int(value["total"]), unit=str(value["unit"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """`state.json`, as the owner of a run writes it."""

    state: str
    attempt: int = 0
    updated: str = ""
    host: str = ""
    pid: int | None = None
    job: str | None = None  # of SLURM
    progress: Progress | None = None
    eta: float | None = None  # seconds
    error: str | None = None  # one line
    seconds: float = 0.0  # worked so far, over all attempts

    def plain(self) -> dict[str, Any]:
        """Its JSON form."""
        return asdict(self)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """What the file says; None where there is none or it is damaged."""
        found = read_json_or_nothing(directory / STATE)
        if found.get("state") not in STATES:
            return None
        return cls(
            state=found["state"],
            attempt=int(_number(found.get("attempt")) or 0),
            updated=str(found.get("updated", "")),
            host=str(found.get("host", "")),
            pid=found.get("pid"),
            job=found.get("job"),
            progress=Progress.read(found.get("progress")),
            eta=_number(found.get("eta")),
            error=found.get("error"),
            seconds=_number(found.get("seconds")) or 0.0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One run directory. `broken` ones cannot be run again before the user has acted on `error`."""

    directory: Path
    identity: str
    name: str
    kind: str
    version: int  # of the kind
    plain: Mapping[str, Any]
    title: Title
    depends: tuple[str, ...]
    macs: float  # as planned
    state: str
    attempt: int
    updated: float | None  # seconds since 1970
    host: str = ""
    pid: int | None = None
    job: str | None = None
    progress: Progress | None = None
    eta: float | None = None  # seconds
    result: Mapping[str, float] | None = None
    device: str | None = None  # where it was computed: cpu or cuda
    error: str | None = None
    seconds: float | None = None  # worked, over all attempts
    broken: bool = False

    @property
    def environment(self) -> Mapping[str, Any]:
        """`environment.json` of the last attempt; empty before the first."""
        return read_json_or_nothing(self.directory / ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class _Result:
    metrics: dict[str, float]
    seconds: float
    attempt: int
    finished: str
    device: str | None


def read_record(directory: Path) -> RunRecord | None:
    """The record of a run directory; None if there is none. Damage gives a record that says so."""
    try:
        run = read_json(directory / RUN)
        about = _about(run)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _broken(directory, f"{RUN} cannot be read ({error})")
    try:
        result = _read_result(directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _unfinished(directory, about, f"{RESULT} cannot be read ({error}); run again")
    if result is None:
        return _unfinished(directory, about, None)
    return RunRecord(
        **about,
        directory=directory,
        name=directory.name,
        state=DONE,
        attempt=result.attempt,
        updated=seconds_of(result.finished),
        result=result.metrics,
        device=result.device,
        seconds=result.seconds,
    )


def has_result(directory: Path) -> bool:
    """Whether a run is finished and its result can be read."""
    try:
        return _read_result(directory) is not None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _about(run: Mapping[str, Any]) -> dict[str, Any]:
    if run["schema"] != SCHEMA:
        raise ValueError(f"schema {run['schema']} of another version of harness, not {SCHEMA}")
    return {
        "identity": str(run["identity"]),
        "kind": str(run["kind"]),
        "version": int(run["version"]),
        "plain": dict(run["config"]),
        "title": Title(**run["title"]),
        "depends": tuple(run["depends"]),
        "macs": float(run["macs"]),
    }


def _read_result(directory: Path) -> _Result | None:
    try:
        found = read_json(directory / RESULT)
    except FileNotFoundError:
        return None
    return _Result(
        metrics={str(name): float(value) for name, value in found["metrics"].items()},
        seconds=float(found["seconds"]),
        attempt=int(found["attempt"]),
        finished=str(found["finished"]),
        device=found.get("device"),
    )


def _unfinished(directory: Path, about: Mapping[str, Any], damage: str | None) -> RunRecord:
    written = State.read(directory)
    state, attempt, error = _standing(directory, written)
    if damage is not None and state != RUNNING:
        state, error = FAILED, damage
    written = written or State(state=state)
    return RunRecord(
        **about,
        directory=directory,
        name=directory.name,
        state=state,
        attempt=attempt,
        updated=seconds_of(written.updated),
        host=written.host,
        pid=written.pid,
        job=written.job,
        progress=written.progress,
        eta=written.eta if state == RUNNING else None,
        error=error,
        seconds=written.seconds,
    )


def _standing(directory: Path, written: State | None) -> tuple[str, int, str | None]:
    """State, attempt and error; that a process is dead, only its missing heartbeat says."""
    if written is not None and written.state not in (RUNNING, DONE):
        return written.state, written.attempt, written.error
    attempt = latest_attempt(directory)
    if attempt is None:
        return PLANNED, 0, None
    if attempt.alive(time.time()):
        return RUNNING, attempt.number, None
    return INTERRUPTED, attempt.number, "its process ended without a word"


def _broken(directory: Path, what: str) -> RunRecord:
    return RunRecord(
        directory=directory,
        identity="",
        name=directory.name,
        kind="",
        version=0,
        plain={},
        title=Title(table="", profile="", row="", seed=None),
        depends=(),
        macs=0.0,
        state=FAILED,
        attempt=0,
        updated=None,
        error=f"{what}; remove the folder {directory} to compute the run anew",
        broken=True,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
