"""Hands a script and the content of its jobs to SLURM, and says what to do where it is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.commands import Said, call
from harness.launch.job import Job
from harness.launch.scheduler import Scheduler
from harness.store.files import writing

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
AGAIN = "the same command submits what is left"
_REMEDIES = (
    (
        r"account/partition combination|invalid account|user.*account",
        "correct `account` (and `partition`) in the cluster description",
    ),
    (r"partition", "correct `partition` in the cluster description (`sinfo` lists them)"),
    (
        r"job array|array spec",
        "lower `max_array_size` in the cluster description "
        "(at most `scontrol show config | grep MaxArraySize`, minus 1)",
    ),
    (
        r"qos policy|QOS\w*Limit|Assoc\w*Limit|MaxSubmit",
        "a limit of the account or QOS: wait until jobs have ended, or lower `minutes`, "
        "`max_array_size` or the `node` in the cluster description; then " + AGAIN,
    ),
    (r"\bqos\b", "correct `qos` in the cluster description"),
    (r"feature|constraint", "correct `constraint` in the cluster description"),
    (
        r"gres|generic resource|gpu",
        "correct `node.gpus`, `gpu_type` or `partition` in the cluster description",
    ),
    (
        r"memory",
        "lower `node.memory_gb` in the cluster description to what SLURM has of a node "
        "(`sinfo -N -o '%N %m'`, in MB), or the profile's `memory_gb`",
    ),
    (
        r"node configuration|node count|cpu count|more processors",
        "correct `node`, `constraint`, `gpu_type` or `partition` in the cluster description: no "
        "node there has what a job asks for (`sinfo -N -o '%N %c %m %G %f'`)",
    ),
    (r"time limit", "lower `minutes` in the cluster description"),
    (r"requeue", "say `requeue: false` in the cluster description"),
    (r"unrecognized option|invalid option", "correct `options` in the cluster description"),
)


class Refused(HarnessError):
    """SLURM did not take an array, or did not say so."""


def remedy(why: str) -> str:
    """What to do about what SLURM said when it refused."""
    found = (text for pattern, text in _REMEDIES if re.search(pattern, why, re.IGNORECASE))
    return next(found, AGAIN)


def submit_array(
    script: str, folder: Path, jobs: Sequence[Job], *, comment: str, minutes: int
) -> list[str]:
    """Submit; the number of each of the jobs, in their order. Refused leaves no job with content.

    The jobs look for it under their numbers, which are known only afterwards, and wait a minute.
    """
    from submitit.core.utils import DelayedSubmission

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        contents = [folder / f"content-{index}.pkl" for index in range(len(jobs))]
        for content, job in zip(contents, jobs, strict=True):
            delayed = DelayedSubmission(_call, job)
            delayed.set_timeout(minutes, 3)  # for a signal that comes before ours are set up
            delayed.dump(content)
    number = submit_script(script, folder, comment=comment)
    names = [number] if len(jobs) == 1 else [f"{number}_{index}" for index in range(len(jobs))]
    with writing(folder):
        for content, name in zip(contents, names, strict=True):
            content.rename(folder / f"{name}_submitted.pkl")
    return names


def submit_script(script: str, folder: Path, *, comment: str) -> str:
    """Submit; the number of the job. Refused where SLURM does not take it."""
    path = folder / "submission.sh"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8", errors="surrogateescape")
    number = _number(call("sbatch", "--parsable", str(path)), comment)
    with suppress(OSError):
        path.rename(folder / f"{number}_submission.sh")
    return number


def _number(said: Said, comment: str) -> str:
    """Of the job, whatever else sbatch's wrapper prints; the queue knows it where that is unclear.

    Where sbatch failed, what it printed is no submission.
    """
    if not said.good:
        raise Refused(said.why)
    plain = re.findall(r"^[ \t]*(\d+)(?:;[^\s;]*)?[ \t\r]*$", said.out, re.MULTILINE)
    found = set(plain) or set(re.findall(r"Submitted batch job (\d+)", said.out))
    if len(found) == 1:
        return str(found.pop())
    answer = Scheduler().ask()
    known = {job.partition("_")[0] for job in answer.submitted(comment)}
    if len(known) == 1:
        return known.pop()
    shown = " ".join(said.out.split())[:200]
    raise Refused(f"sbatch told no number of a job: '{shown}'")


def largest_array() -> int | None:
    """How many jobs an array of this cluster may have; None where SLURM does not say."""
    said = call("scontrol", "show", "config")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said.out, re.MULTILINE)
    return max(1, int(found[1])) if said.good and found is not None else None


def _call(job: Job) -> None:
    job()
