"""Calls programs of SLURM (and git) as if nobody had set anything for them, and never for ever.

Options in the login shell's environment (`SBATCH_ACCOUNT`, `SQUEUE_STATES`, `SLURM_CLUSTERS`) would
override what is asked for here, or hide jobs. Sites wrap these programs: what comes back may hold
other lines, bytes that are no text, or nothing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

SECONDS = 60.0
"""How long a program may take. SLURM's own give up after about ten seconds and ask again."""

KEPT = frozenset({"SLURM_CONF", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_SOCKET"})
"""Where the cluster is and who the user is; all other variables of SLURM are options."""
_OPTIONS = re.compile(
    r"(SLURM|SBATCH|SALLOC|SRUN|SQUEUE|SACCT|SACCTMGR|SCANCEL|SCONTROL|SINFO|SPRIO|SUBMITIT)_"
)
_OF_A_JOB = frozenset(
    {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
)
_OF_GIT = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|NAMESPACE|CONFIG\w*)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandResult:
    """What a program answered. Without `code` it did not: `why` says so in one sentence."""

    out: str = ""
    err: str = ""
    code: int | None = None
    why: str = ""
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked to."""
        return self.code == 0


def call(*words: str, seconds: float | None = None, stdin: str = "") -> CommandResult:
    """Run a program to its end, or end it and all that it started after so many seconds."""
    limit = SECONDS if seconds is None else seconds
    # files, not pipes: a child that a wrapper leaves behind would hold a pipe open for ever
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin.encode("utf-8", "surrogateescape"))
        given.seek(0)
        try:
            process = subprocess.Popen(
                words,
                stdin=given,
                stdout=out,
                stderr=err,
                env=clean_environment(os.environ),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a word that holds a zero byte
            return CommandResult(why=_cannot_start(words[0], error))
        try:
            code = process.wait(limit)
        except BaseException as error:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            why = f"{words[0]} did not answer within {limit:g} seconds"
            return CommandResult(why=why, timed_out=True)
        result = CommandResult(out=_text(out), err=_text(err), code=code)
    return (
        result
        if code == 0
        else CommandResult(out=result.out, err=result.err, code=code, why=_why(words, result))
    )


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables but for those that change what SLURM or git does."""
    return {
        name: value
        for name, value in given.items()
        if name in KEPT or not (_OPTIONS.match(name) or name in _OF_A_JOB or _OF_GIT.match(name))
    }


def _cannot_start(program: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{program} not found"
    return f"{program} cannot be started: {getattr(error, 'strerror', None) or error}"


def _why(words: Sequence[str], result: CommandResult) -> str:
    """The lines that tell most of a program that failed, as one."""
    lines = [line.strip() for line in result.err.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|fatal", line, re.IGNORECASE)]
    texts = [re.sub(r"^(\S+: )?(error|fatal): ", "", line) for line in errors or lines[-1:]]
    if not texts:
        return f"{words[0]} ended with exit code {result.code} and said nothing"
    text = "; ".join(dict.fromkeys(texts[:3]))
    return f"{words[0]}: {''.join(c if c.isprintable() else '?' for c in text)[:500]}"


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")
