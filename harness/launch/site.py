"""Holds a cluster's description against the cluster, before anything is submitted.

What SLURM would take it says itself (`sbatch --test-only`). What a node sees of the shared folders,
and whether Python works there, one tiny job tells.
"""

from __future__ import annotations

import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.cluster import Cluster, JobResources, job_resources, load_cluster
from harness.launch.commands import call
from harness.launch.job_arrays import WorkClass, work_classes
from harness.launch.reconcile import MARK, last_words
from harness.launch.sbatch import COMMANDS, batch_script, largest_array, remedy, submit_script
from harness.launch.scheduler import Scheduler, cancel_jobs
from harness.launch.snapshot import package_root, take_snapshot
from harness.run import Resources
from harness.store.files import read_json_or_nothing

PATIENCE = 180.0
"""Seconds until the tiny job must have run; a cluster may be full."""
LOOK = 1.0
PROBE = """
import json, os, platform, socket, sys
from pathlib import Path
import harness, submitit, timm, torch
folder, results = Path(sys.argv[1]), Path(sys.argv[2])
seen = results.is_dir() and os.access(results, os.W_OK)
gpus = torch.cuda.device_count()
told = dict(host=socket.gethostname(), python=platform.python_version(), torch=torch.__version__,
            code=str(Path(harness.__file__).resolve().parents[1]), results=seen, gpus=gpus)
(folder / ".probe").write_text(json.dumps(told))
(folder / ".probe").rename(folder / "probe.json")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing looked at."""

    what: str
    good: bool | None  # None: it could not be told
    found: str
    do: str | None = None  # the next step


def examine_cluster(path: Path, results: Path) -> Iterator[Check]:
    """Everything that decides whether jobs can run; stops where the rest cannot be asked."""
    try:
        cluster = load_cluster(path)
        folder = cluster.folder(results)
    except HarnessError as error:
        yield Check(what="cluster", good=False, found=str(error), do="correct it")
        return
    yield Check(what="cluster", good=True, found=str(path))
    absent = [program for program in COMMANDS if shutil.which(program) is None]
    if absent:
        do = "log in to a host that submits to SLURM"
        yield Check(what="slurm", good=False, found=f"{', '.join(absent)} not found", do=do)
        return
    answer = Scheduler().ask()
    if not answer.complete:
        do = "try again when `squeue` works here"
        yield Check(what="slurm", good=False, found=answer.why, do=do)
        return
    yield Check(what="slurm", good=True, found="the controller answers")
    yield from _arrays(cluster)
    good = True
    for name, work in work_classes(cluster, Resources()).items():
        for check in (*_nodes(name, work), _shape(name, work, folder)):
            good = good and check.good is not False
            yield check
    if good:
        yield from _node(cluster, folder, results)


def _arrays(cluster: Cluster) -> Iterator[Check]:
    most = largest_array()
    if most is not None and most < cluster.max_array_size:
        text = f"the cluster takes {most} jobs in an array, max_array_size is "
        text += f"{cluster.max_array_size}: arrays are cut to {most}"
        yield Check(what="arrays", good=True, found=text)


def _nodes(name: str, work: WorkClass) -> Iterator[Check]:
    """What the description says of a node that none of the partition has."""
    mark = f"<{uuid.uuid4().hex}>"
    where = ["-p", work.cluster.partition] if work.cluster.partition else []
    listing = call("sinfo", "-a", "-h", "-N", *where, "-o", f"{mark}%c|%m|%G{mark}")
    rows = [text.split("|", 2) for text in listing.out.split(mark)[1::2]]
    if not (listing.ok and rows):
        return
    node = work.cluster.node
    counts = {
        "cpus": (node.cpus, max(_first(row[0]) for row in rows)),
        "gpus": (node.gpus if work.device == "cuda" else 0, max(_gpus(row[2]) for row in rows)),
        "memory_gb": (node.memory_gb or 0, max(_first(row[1]) for row in rows) / 1024),
    }
    for key, (described, there) in counts.items():
        if described > there:
            found = f"`node.{key}` is {described:g}, and no node of the partition has more than "
            found += f"{there:g}"
            do = f"lower `node.{key}` in the cluster description, or name another `partition`"
            yield Check(what=f"nodes: {name}", good=False, found=found, do=do)
    kinds = {row[2] for row in rows}
    kind = work.cluster.gpu_type
    if work.device == "cuda" and kind and not any(f":{kind}:" in one for one in kinds):
        found = f"`gpu_type` is {kind}, and the partition has {', '.join(sorted(kinds))[:200]}"
        do = "correct `gpu_type` in the cluster description, or leave it out"
        yield Check(what=f"nodes: {name}", good=False, found=found, do=do)


def _first(text: str) -> int:
    """A number of sinfo, "64" or "64+"."""
    match = re.match(r"\d+", text.strip())
    return int(match[0]) if match else 0


def _gpus(text: str) -> int:
    """How many GPUs "gpu:a100:4(S:0-1),gpu:2" are."""
    return sum(int(number) for number in re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", text))


def _shape(name: str, work: WorkClass, folder: Path) -> Check:
    """Whether SLURM would take a job of that sort: partition, account, QOS, GPUs, limits."""
    what = f"jobs: {name}"
    try:
        shape = job_resources(
            work.resources, work.cluster, device=work.device, exclusive=name == "timing"
        )
    except HarnessError as error:
        return Check(what=what, good=False, found=str(error), do="correct `node`")
    script = batch_script(
        work.cluster, shape, name="doctor", comment="harness doctor", folder=folder, code=folder
    )
    answer = call("sbatch", "--test-only", stdin=script)
    asked = f"partition {work.cluster.partition or '(default)'}, {_asked(shape)}"
    if not answer.ok:
        return Check(what=what, good=False, found=f"{asked}: {answer.why}", do=remedy(answer.why))
    start = re.search(r"to start at (\S+)", answer.err + answer.out)
    soon = "" if start is None else f"; one would start at {start[1]}"
    return Check(what=what, good=True, found=f"{asked}{soon}")


def _asked(shape: JobResources) -> str:
    parts = [f"{shape.cpus} CPUs"]
    parts += [f"{shape.gpus} GPU"] * bool(shape.gpus)
    parts += [f"{shape.memory_mb} MB"] * bool(shape.memory_mb)
    parts += ["a whole node"] * shape.exclusive
    return ", ".join([*parts, f"{shape.minutes} minutes"])


def _node(cluster: Cluster, folder: Path, results: Path) -> Iterator[Check]:
    """What a job finds on a node: the shared folders, Python and its packages, GPUs."""
    device = cluster.device
    shape = replace(job_resources(Resources(), cluster, device=device), minutes=5)
    brief = replace(cluster, minutes=5, signal_seconds=30)
    place = folder / "jobs" / f"doctor-{uuid.uuid4().hex[:8]}"
    try:
        code = take_snapshot(package_root(), folder / "code")
        results.mkdir(parents=True, exist_ok=True)
        words = ["-c", PROBE, str(place), str(results)]
        script = batch_script(
            brief,
            shape,
            name="harness-doctor",
            comment=f"{MARK}doctor",
            folder=place,
            code=code,
            command=" ".join(map(shlex.quote, words)),
        )
        job = submit_script(script, place, comment=f"{MARK}doctor")
    except (OSError, HarnessError) as error:
        yield Check(what="a node", good=False, found=str(error), do="correct it and try again")
        return
    state = _wait(job, place)
    facts = read_json_or_nothing(place / "probe.json")
    if facts:
        yield from _facts_of_node(facts, cluster, code, folder, results)
    elif state is None:
        with_job = f"job {job} did not run within {PATIENCE:.0f} seconds and was cancelled"
        do = "try again when a node is free"
        yield Check(what="a node", good=None, found=with_job, do=do)
    else:
        yield _failed(job, state, place)
    if facts:
        shutil.rmtree(place, ignore_errors=True)


def _wait(job: str, place: Path) -> str | None:
    """The state in which the job ended; None if it did not in time, and is cancelled."""
    end = time.monotonic() + PATIENCE
    scheduler = Scheduler(every=2 * LOOK)
    while time.monotonic() < end:
        if (place / "probe.json").exists():
            return "COMPLETED"
        answer = scheduler.ask([job])
        info = answer.jobs.get(job)
        if answer.complete and (info is None or info.phase != "alive"):
            time.sleep(2 * LOOK)  # a file server may show its files a moment later
            return "gone" if info is None else info.state
        time.sleep(LOOK)
    try:
        cancel_jobs([job])
    except HarnessError:
        return None
    return None


def _failed(job: str, state: str, place: Path) -> Check:
    if not (place / f"{job}_0_log.out").exists():
        text = f"job {job} is {state}, and none of its files is in {place}"
        do = "give `scratch:` a folder that all nodes see"
        return Check(what="a node", good=False, found=text, do=do)
    words = last_words(place, job) or "it printed nothing that says why"
    do = f"correct `python`, `setup` or `environment`; all that it printed is in {place}"
    return Check(what="a node", good=False, found=f"job {job} is {state}: {words}", do=do)


def _facts_of_node(
    facts: dict[str, object], cluster: Cluster, code: Path, folder: Path, results: Path
) -> Iterator[Check]:
    host = facts.get("host")
    text = f"{host}: Python {facts.get('python')}, torch {facts.get('torch')}"
    yield Check(what="python on a node", good=True, found=text)
    right = facts.get("code") == str(code.resolve())
    text = f"{folder} is seen by {host}"
    text += "" if right else f", but it imported harness from {facts.get('code')}"
    do = None if right else "take PYTHONPATH out of `setup` and of the shell's start-up files"
    yield Check(what="shared code", good=right, found=text, do=do)
    sees = bool(facts.get("results"))
    text = f"{results} can {'' if sees else 'not '}be written on {host}"
    do = None if sees else "put HARNESS_RESULTS on a file system that all nodes see"
    yield Check(what="shared results", good=sees, found=text, do=do)
    if cluster.device == "cuda":
        gpus = facts.get("gpus")
        do = None if gpus else "a torch with CUDA in `python`'s environment, or correct `node.gpus`"
        yield Check(what="gpu on a node", good=bool(gpus), found=f"torch sees {gpus}", do=do)
