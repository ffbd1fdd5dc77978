"""The batch script of an array: what it asks for, the site's setup, and what is started."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.launch.cluster import Cluster, JobResources
from harness.launch.reconcile import MARK
from harness.launch.shell import shell_value, whole_commands
from harness.paths import project_root

_PERCENT = "\ue000"  # stands for a % that is none of sbatch's patterns, until all of those are in
_NOT_IN_JOBS = ("HARNESS_CLUSTER", "HARNESS_HOME", "HARNESS_LOCKS")
"""Of this machine, or set by the script itself."""
_PLACES = ("HARNESS_CACHE", "HARNESS_DATA", "HARNESS_RESULTS")
"""Variables that may hold a path from the folder where the command was given."""
SETUP_FAILED = 78  # EX_CONFIG


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
    given = {**_submitters(), **{k: shell_value(v) for k, v in cluster.environment.items()}}
    paths = [str(code), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    search = shlex.quote(os.pathsep.join(paths))
    if "PYTHONPATH" in given:
        search = f"{shlex.quote(str(code) + os.pathsep)}{given.pop('PYTHONPATH')}"
    given |= {
        "HARNESS_HOME": shlex.quote(str(project_root())),
        "PYTHONPATH": search,
        "PYTHONSAFEPATH": "1",  # or the checkout, where the job starts, comes first
        "SLURM_EXPORT_ENV": "ALL",  # srun takes over what is set here
        "SRUN_CPUS_PER_TASK": str(shape.cpus),  # srun does not take it from the script
    }
    for name, value in given.items():
        yield f"export {name}={value}"


def _submitters() -> dict[str, str]:
    """The variables of this command that its runs must see, as words for a shell."""
    found = {}
    for name, value in sorted(os.environ.items()):
        if re.fullmatch(r"HARNESS_[A-Z0-9_]+", name) and name not in _NOT_IN_JOBS:
            place = name in _PLACES and value and not value.startswith(("~", "/"))
            found[name] = shlex.quote(str(Path(value).absolute()) if place else value)
    return found


def _setup(cluster: Cluster) -> Iterator[str]:
    """The site's lines; the job ends where one fails."""
    for line in whole_commands(cluster.setup):
        yield line
        shown = re.sub(r"\s+", " ", line)[:200]
        said = shlex.quote(f"{MARK}this line of `setup` failed: {shown}")
        yield f"[ $? -eq 0 ] || {{ echo {said} >&2; exit {SETUP_FAILED}; }}"
