"""`result.json`: what a run computed, and what tells that it still is what was computed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self

from harness.code import CodeRecord
from harness.errors import HarnessError
from harness.run import TASKS, Task
from harness.store.files import FileError, json_object, line_in, number_in, read_bytes, whole_in

PERCENT = re.compile(r"(.*[/_])?top[0-9]+")
"""Names of metrics that are accuracies, in percent."""
OF_THE_HUB = "hub:"
"""Before the name of published weights in `used`, in place of a run's identity."""
_SLACK = 1e-6  # of rounding
_CODE = b'\n  "code": '
"""A line break is in no text of JSON, so this is no part of one."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a run left, as it was when it was written."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """What the file is now; FileNotFoundError, FileError where it cannot be read."""
        try:
            with path.open("rb") as file:
                return cls(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror}") from error

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """From its JSON form; ValueError where that is damaged."""
        if not isinstance(value, Mapping):
            raise ValueError("an artifact must be an object")
        sha256, size = value.get("sha256"), whole_in(value.get("bytes"))
        if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256) or size is None:
            raise ValueError("an artifact must have a SHA-256 and a number of bytes")
        return cls(sha256, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The content of the file."""

    metrics: Mapping[str, float]
    seconds: float
    attempt: int
    finished: str
    device: str | None
    artifacts: Mapping[str, Artifact] | None
    used: Mapping[str, Mapping[str, Artifact]] | None
    code: CodeRecord | None


def read_result(path: Path, task: str) -> Result:
    """FileNotFoundError where there is none, FileError where it cannot be read, and ValueError,
    with what is wrong, where it is damaged.
    """
    content, code = _with_code(read_bytes(path))
    missing = [key for key in ("metrics", "seconds", "attempt", "finished") if key not in content]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    seconds, attempt = number_in(content["seconds"]), whole_in(content["attempt"])
    if seconds is None or seconds < 0 or attempt is None:
        raise ValueError("seconds and attempt must be numbers from 0 up")
    finished, device = line_in(content["finished"]), content.get("device")
    if finished is None or not (device is None or line_in(device) is not None):
        raise ValueError("finished and device must be texts")
    return Result(
        metrics=_metrics(content["metrics"], task),
        seconds=seconds,
        attempt=attempt,
        finished=finished,
        device=line_in(device),
        artifacts=_artifacts(content["artifacts"]) if "artifacts" in content else None,
        used=_used(content["used"]) if "used" in content else None,
        code=code,
    )


def _with_code(content: bytes) -> tuple[dict[str, Any], CodeRecord | None]:
    """The object that the file holds, and its code: most of it, the last member, and the same text
    in many runs, so each such text is parsed once.
    """
    before, name, code = content.rpartition(_CODE)
    if name:
        with suppress(ValueError):  # not as a run writes it
            return json_object(before + name + b"null}", finite=False), _code_of(code)
    whole = json_object(content, finite=False)
    return whole, CodeRecord.read(whole.get("code"))


@lru_cache(maxsize=64)
def _code_of(end: bytes) -> CodeRecord | None:
    """That of the end of a file, behind its name; ValueError where there is more."""
    whole = json_object(b'{"code": ' + end, finite=False)
    if len(whole) > 1:
        raise ValueError("not the last member")
    return CodeRecord.read(whole["code"])


def wrong(name: str, value: object) -> str | None:
    """Why that cannot be a result; None if it can."""
    number = number_in(value)
    if number is None:
        return f"{name} is {line_in(str(value)[:40])}, no finite number"
    if PERCENT.fullmatch(name) and not -_SLACK <= number <= 100 + _SLACK:
        return f"{name} is {number:g}, no percentage"
    return None


def _metrics(value: object, task: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError("metrics must be an object")
    for name, number in value.items():
        what = wrong(name, repr(number) if isinstance(number, str) else number)
        if what is not None:
            raise ValueError(what)
    declared = _declared(task)
    if declared and value and not declared & value.keys():
        raise ValueError(f"has no metric of the task '{task}'")
    return {line_in(name) or "": float(number) for name, number in value.items()}


def _declared(task: str) -> frozenset[str]:
    try:
        return _metrics_of(TASKS.get(task))
    except HarnessError:  # of another version of harness, or of a plugin that is not here
        return frozenset()


@cache
def _metrics_of(task: type[Task]) -> frozenset[str]:
    return task.metrics()


def _artifacts(value: object) -> dict[str, Artifact]:
    if not isinstance(value, Mapping):
        raise ValueError("artifacts must be an object")
    if any("/" in name or name in ("", ".", "..") or name != line_in(name) for name in value):
        raise ValueError("artifacts lie in the run directory itself")
    return {name: Artifact.from_dict(part) for name, part in value.items()}


def _used(value: object) -> dict[str, dict[str, Artifact]]:
    if not isinstance(value, Mapping):
        raise ValueError("used must be an object")
    return {identity: _artifacts(part) for identity, part in value.items()}
