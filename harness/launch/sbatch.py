"""The batch script of an array, and handing it to SLURM with the content of its jobs.

The script says what is asked for, the site's setup, and what is started. Where SLURM refuses it,
the error says what to do.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.cluster import Cluster, JobResources
from harness.launch.commands import CommandResult, call
from harness.launch.job import Job
from harness.launch.reconcile import MARK
from harness.launch.scheduler import Scheduler
from harness.launch.shell import shell_value, whole_commands
from harness.paths import project_root
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


_PERCENT = "\ue000"  # stands for a % that is none of sbatch's patterns, until all of those are in
_NOT_IN_JOBS = ("HARNESS_CLUSTER", "HARNESS_HOME", "HARNESS_LOCKS")
"""Of this machine, or set by the script itself."""
_PLACES = ("HARNESS_CACHE", "HARNESS_DATA", "HARNESS_RESULTS")
"""Variables that may hold a path from the folder where the command was given."""
SETUP_FAILED = 78  # EX_CONFIG


class Refused(HarnessError):
    """SLURM did not take an array, or did not say so."""


def remedy(why: str) -> str:
    """What to do about what SLURM said when it refused."""
    advice = (text for pattern, text in _REMEDIES if re.search(pattern, why, re.IGNORECASE))
    return next(advice, AGAIN)


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


def _number(answer_of_sbatch: CommandResult, comment: str) -> str:
    """Of the job, whatever else sbatch's wrapper prints; the queue knows it where that is unclear.

    Where sbatch failed, what it printed is no submission.
    """
    if not answer_of_sbatch.ok:
        raise Refused(answer_of_sbatch.why)
    plain = re.findall(r"^[ \t]*(\d+)(?:;[^\s;]*)?[ \t\r]*$", answer_of_sbatch.out, re.MULTILINE)
    numbers = set(plain) or set(re.findall(r"Submitted batch job (\d+)", answer_of_sbatch.out))
    if len(numbers) == 1:
        return str(numbers.pop())
    answer = Scheduler().ask()
    of_submission = {job.partition("_")[0] for job in answer.submitted(comment)}
    if len(of_submission) == 1:
        return of_submission.pop()
    shown = " ".join(answer_of_sbatch.out.split())[:200]
    raise Refused(f"sbatch told no number of a job: '{shown}'")


def largest_array() -> int | None:
    """How many jobs an array of this cluster may have; None where SLURM does not say."""
    config = call("scontrol", "show", "config")
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", config.out, re.MULTILINE)
    return max(1, int(size[1])) if config.ok and size is not None else None


def _call(job: Job) -> None:
    job()


def batch_script(
    cluster: Cluster,
    shape: JobResources,
    *,
    name: str,
    comment: str,
    folder: Path,
    code: Path,
    waits: Sequence[str] = (),
    jobs: int = 1,
    parallel: int = 1,
    command: str | None = None,
) -> str:
    """What sbatch gets. `command` is what each task runs, as a shell has it; by default the
    content that the submission puts into `folder`.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    if command is None:
        command = f"-u -m submitit.core._submit {shlex.quote(str(folder))}"
    text: str = _make_sbatch_string(
        command=f"{_python(cluster)} {command}",
        folder=str(folder).replace("%", _PERCENT),
        map_count=jobs if jobs > 1 else None,
        array_parallelism=parallel,
        job_name=re.sub(r"[^\w.-]", "-", name, flags=re.ASCII),
        comment=comment,
        setup=[*_setup(cluster), *_exports(cluster, shape, code)],
        **_asked(cluster, shape, waits),
    )
    return text.replace(_PERCENT, "%%")


def _python(cluster: Cluster) -> str:
    return cluster.python or shlex.quote(sys.executable)


def _asked(cluster: Cluster, shape: JobResources, waits: Sequence[str]) -> dict[str, Any]:
    additional: dict[str, Any] = {"chdir": str(project_root())}
    additional |= {name: value or True for name, value in cluster.options.items()}
    additional["requeue" if cluster.requeue else "no-requeue"] = True
    if shape.memory_mb is not None:
        additional["mem"] = f"{shape.memory_mb}M"
    if waits:
        additional["dependency"] = "afterok:" + ":".join(dict.fromkeys(waits))
        additional["kill-on-invalid-dep"] = "yes"
    gpus = f"{cluster.gpu_type}:{shape.gpus}" if cluster.gpu_type else shape.gpus
    optional = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "gpus_per_node": gpus if shape.gpus else None,
        "exclusive": shape.exclusive or None,
    }
    return {
        "time": shape.minutes,
        "nodes": shape.nodes,
        "ntasks_per_node": shape.tasks,
        "cpus_per_task": shape.cpus,
        "signal_delay_s": cluster.signal_seconds,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own, which clusters that check such keys refuse
        "additional_parameters": additional,
        **{key: value for key, value in optional.items() if value is not None},
    }


def _exports(cluster: Cluster, shape: JobResources, code: Path) -> Iterator[str]:
    """Where the code, the project and the data are: also where a site passes no environment on."""
    exports = {**_submitters(), **{k: shell_value(v) for k, v in cluster.environment.items()}}
    paths = [str(code), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    search = shlex.quote(os.pathsep.join(paths))
    if "PYTHONPATH" in exports:
        search = f"{shlex.quote(str(code) + os.pathsep)}{exports.pop('PYTHONPATH')}"
    exports |= {
        "HARNESS_HOME": shlex.quote(str(project_root())),
        "PYTHONPATH": search,
        "PYTHONSAFEPATH": "1",  # or the checkout, where the job starts, comes first
        "SLURM_EXPORT_ENV": "ALL",  # srun takes over what is set here
        "SRUN_CPUS_PER_TASK": str(shape.cpus),  # srun does not take it from the script
    }
    for name, value in exports.items():
        yield f"export {name}={value}"


def _submitters() -> dict[str, str]:
    """The variables of this command that its runs must see, as words for a shell."""
    words = {}
    for name, value in sorted(os.environ.items()):
        if re.fullmatch(r"HARNESS_[A-Z0-9_]+", name) and name not in _NOT_IN_JOBS:
            place = name in _PLACES and value and not value.startswith(("~", "/"))
            words[name] = shlex.quote(str(Path(value).absolute()) if place else value)
    return words


def _setup(cluster: Cluster) -> Iterator[str]:
    """The site's lines; the job ends where one fails."""
    for line in whole_commands(cluster.setup):
        yield line
        shown = re.sub(r"\s+", " ", line)[:200]
        complaint = shlex.quote(f"{MARK}this line of `setup` failed: {shown}")
        yield f"[ $? -eq 0 ] || {{ echo {complaint} >&2; exit {SETUP_FAILED}; }}"
