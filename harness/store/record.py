"""A run directory as read back: what it was asked to compute, how far it is, what came out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from harness.code import CodeRecord
from harness.spec.expand import RunLabel
from harness.store.files import (
    FileError,
    line_in,
    number_in,
    parsed,
    read_bytes,
    read_json,
    read_json_or_nothing,
    seconds_of,
    whole_in,
)
from harness.store.job import JobNote, read_job
from harness.store.lease import Owner, latest_attempt
from harness.store.result import Artifact, Result, read_result

SCHEMA = 1
"""Of run.json; raised when older run directories can no longer be read."""

PLANNED: Final = "planned"
QUEUED: Final = "queued"
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
DONE: Final = "done"
FAILED: Final = "failed"
UNREADABLE: Final = "unreadable"  # what it is cannot be seen now: nobody may touch it
STATES: Final = (PLANNED, QUEUED, RUNNING, INTERRUPTED, DONE, FAILED, UNREADABLE)

RUN, STATE, RESULT, ENVIRONMENT = "run.json", "state.json", "result.json", "environment.json"
METRICS, LOG = "metrics.jsonl", "log.txt"
CHECKPOINT, CHECKPOINT_NOTES = "checkpoint.pt", "checkpoint.json"
_REMOVE = "; remove the folder {} to compute the run anew"
_FOLDER = re.compile(r".*-[0-9a-f]{8}")


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
        done, total = whole_in(value.get("done")), whole_in(value.get("total"))
        unit = line_in(value.get("unit"))
        if done is None or total is None or unit is None:
            return None
        return cls(done=done, total=total, unit=unit)


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

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """What the file says; None where there is none or it is damaged."""
        content = read_json_or_nothing(directory / STATE)
        state = content.get("state")
        if not isinstance(state, str) or state not in STATES or state == UNREADABLE:
            return None
        return cls(
            state=state,
            attempt=whole_in(content.get("attempt")) or 0,
            updated=line_in(content.get("updated")) or "",
            host=line_in(content.get("host")) or "",
            pid=whole_in(content.get("pid")),
            job=line_in(content.get("job")),
            progress=Progress.read(content.get("progress")),
            eta=number_in(content.get("eta")),
            error=line_in(content.get("error")),
            seconds=max(0.0, number_in(content.get("seconds")) or 0.0),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One run directory. `broken` ones cannot be run again before the user has acted on `error`."""

    directory: Path
    identity: str
    name: str
    task: str  # its registered name
    version: int  # of the task
    plain: Mapping[str, Any]
    title: RunLabel
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
    note: JobNote | None = None  # the scheduler's job that is responsible for the run
    broken: bool = False
    artifacts: Mapping[str, Artifact] | None = None  # of a result; None: it did not note them
    # of the runs it depends on and of the model hub, as used
    used: Mapping[str, Mapping[str, Artifact]] | None = None
    code: CodeRecord | None = None  # that computed the result; None: it did not note it
    _environment: list[Mapping[str, Any]] = field(default_factory=list, repr=False, compare=False)

    @property
    def outputs(self) -> Mapping[str, Artifact]:
        """The artifacts that other runs use: all but the metrics, in which times stand."""
        return {name: one for name, one in (self.artifacts or {}).items() if name != METRICS}

    @property
    def environment(self) -> Mapping[str, Any]:
        """`environment.json` of the last attempt; empty before the first, or if damaged. It is read
        once, when it is first asked for.
        """
        if not self._environment:
            self._environment.append(_read_environment(self.directory / ENVIRONMENT))
        return self._environment[0]


def read_record(directory: Path) -> RunRecord | None:
    """The record of a run directory; None if there is none. Damage gives a record that says so,
    and so does a file that cannot be read, which is no damage.
    """
    try:
        about = _about(read_json(directory / RUN))
    except FileNotFoundError:
        return _without_run(directory)
    except FileError as error:
        return _broken(directory, UNREADABLE, str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _broken(directory, FAILED, f"{RUN} is damaged ({_reason(error)}){_REMOVE}")
    try:
        return _read(directory, about)
    except FileError as error:
        return _record(directory, about, state=UNREADABLE, error=str(error), broken=True)


def has_result(directory: Path) -> bool:
    """Whether a run is finished and its result is whole; FileError where that cannot be seen."""
    try:
        about = _about(read_json(directory / RUN))
        task = str(about["task"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        task = ""
    try:
        read_result(directory / RESULT, task)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _read(directory: Path, about: Mapping[str, Any]) -> RunRecord:
    try:
        result = read_result(directory / RESULT, about["task"])
    except FileNotFoundError:
        return _unfinished(directory, about, None)
    except ValueError as error:
        return _unfinished(directory, about, f"{RESULT} is damaged ({_reason(error)}); run again")
    return _finished(directory, about, result)


def _finished(directory: Path, about: Mapping[str, Any], result: Result) -> RunRecord:
    return _record(
        directory,
        about,
        state=DONE,
        attempt=result.attempt,
        updated=seconds_of(result.finished),
        result=result.metrics,
        device=result.device,
        seconds=result.seconds,
        artifacts=result.artifacts,
        used=result.used,
        code=result.code,
    )


def _record(directory: Path, about: Mapping[str, Any], **more: Any) -> RunRecord:
    fields = {"attempt": 0, "updated": None, **more}
    return RunRecord(**about, directory=directory, name=directory.name, **fields)


def _about(run: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of a run; ValueError and the like where a type is wrong."""
    if run["schema"] != SCHEMA:
        raise ValueError(f"schema {run['schema']} of another version of harness, not {SCHEMA}")
    identity, task, macs = run["identity"], line_in(run["kind"]), number_in(run["macs"])
    if not isinstance(identity, str) or not re.fullmatch(r"[0-9a-f]{64}", identity):
        raise ValueError("`identity` is no SHA-256")
    if task is None or macs is None or macs < 0:
        raise ValueError("`kind` must be a text and `macs` a number")
    depends = run["depends"]
    if not isinstance(depends, list) or any(line_in(one) is None for one in depends):
        raise ValueError("`depends` must be a list of texts")
    version = whole_in(run["version"])
    if version is None or not isinstance(run["config"], dict):
        raise ValueError("`version` must be a whole number and `config` an object")
    return {
        "identity": identity,
        "task": task,
        "version": version,
        "plain": run["config"],
        "title": _title(run["title"]),
        "depends": tuple(depends),
        "macs": macs,
    }


def _title(value: Mapping[str, Any]) -> RunLabel:
    texts = {key: line_in(value[key]) for key in ("table", "profile", "row")}
    seed = None if value["seed"] is None else whole_in(value["seed"])
    if None in texts.values() or (seed is None and value["seed"] is not None):
        raise ValueError("`title` must have texts and a seed")
    return RunLabel(**texts, seed=seed)  # type: ignore[arg-type]


def _unfinished(directory: Path, about: Mapping[str, Any], damage: str | None) -> RunRecord:
    written = State.read(directory)
    state, attempt, error, owner = _state_of_attempts(directory, written)
    note = read_job(directory)
    before = note is not None and state == FAILED and attempt <= note.attempt
    if note is not None and (state in (PLANNED, INTERRUPTED) or before):
        state = QUEUED  # until the job has ended, whatever became of its attempts so far
    if damage is not None and state not in (RUNNING, QUEUED):
        state, error = FAILED, damage
    written = written or State(state=state)
    # whoever has just begun has not written its state yet
    host, pid = (written.host, written.pid) if owner is None else (owner.host, owner.pid)
    return _record(
        directory,
        about,
        state=state,
        attempt=attempt,
        updated=seconds_of(written.updated),
        host=host,
        pid=pid,
        job=note.job if note is not None else written.job,
        progress=written.progress,
        eta=written.eta if state == RUNNING else None,
        error=error,
        seconds=written.seconds,
        note=note,
    )


def _state_of_attempts(
    directory: Path, written: State | None
) -> tuple[str, int, str | None, Owner | None]:
    """State, attempt, error, and who runs it; that a process is dead, only its missing heartbeat
    says.
    """
    if written is not None and written.state not in (RUNNING, DONE):
        return written.state, written.attempt, written.error, None
    attempt = latest_attempt(directory)
    if attempt is None or attempt.outcome == DONE:  # its result was put aside
        return PLANNED, 0 if attempt is None else attempt.number, None, None
    if attempt.alive():
        return RUNNING, attempt.number, None, attempt.owner
    return INTERRUPTED, attempt.number, "its process ended without a word", None


def _without_run(directory: Path) -> RunRecord | None:
    """None for what is no run directory, or one that nobody has begun; else what is wrong."""
    if directory.is_symlink():
        return _broken(directory, UNREADABLE, f"cannot read {directory}: its target is not there")
    if not _FOLDER.fullmatch(directory.name):
        return None
    if not (directory / "attempts").exists() and not (directory / RESULT).exists():
        return None
    return _broken(directory, FAILED, f"{RUN} is missing{_REMOVE}")


def _broken(directory: Path, state: str, what: str) -> RunRecord:
    return RunRecord(
        directory=directory,
        identity="",
        name=directory.name,
        task="",
        version=0,
        plain={},
        title=RunLabel(table="", profile="", row="", seed=None),
        depends=(),
        macs=0.0,
        state=state,
        attempt=0,
        updated=None,
        error=what.replace("{}", str(directory)),
        broken=True,
    )


def _reason(error: Exception) -> str:
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return line_in(text) or type(error).__name__


def _read_environment(path: Path) -> Mapping[str, Any]:
    try:
        content = read_bytes(path)
    except (FileNotFoundError, FileError):  # it tells where a number comes from: that is there
        return {}
    return _parsed_environment(content)


@lru_cache(maxsize=64)
def _parsed_environment(content: bytes) -> Mapping[str, Any]:
    """All runs of a machine have the same."""
    try:
        value = parsed(content)
    except ValueError:
        return {}
    return MappingProxyType(_facts(value)) if isinstance(value, dict) else {}


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `environment.json` that have the types they should have."""
    facts: dict[str, Any] = {
        key: value for key, value in content.items() if isinstance(value, str | int | None)
    }
    facts |= {key: None for key in ("commit", "dirty") if not isinstance(content.get(key), str)}
    packages, gpus = content.get("packages"), content.get("gpus")
    if isinstance(packages, dict):
        facts["packages"] = {name: text for name, text in packages.items() if line_in(text)}
    else:
        facts.pop("packages", None)
    facts["gpus"] = [name for name in gpus if line_in(name)] if isinstance(gpus, list) else []
    if isinstance(content.get("torch"), dict):
        facts["torch"] = content["torch"]
    return facts if content else {}
