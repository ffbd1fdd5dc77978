"""What a SLURM cluster offers, as its users describe it in one YAML file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from harness import variables
from harness.bounds import above, at_least, check_bounds
from harness.device import Device
from harness.errors import Diagnostic, FieldError, HarnessError, SpecError
from harness.launch.shell import VARIABLES, whole_commands, wrong_variable
from harness.run import Resources
from harness.spec.build import Builder
from harness.spec.nodes import MapNode
from harness.spec.strict_yaml import read_yaml
from harness.text import options
from harness.variables import user_path

VARIABLE = "HARNESS_CLUSTER"
USER_FILE = "~/.config/harness/cluster.yaml"
_OF_A_NODE = {"mem": "memory_gb", "gres": "gpus", "gpus-per-node": "gpus", "cpus-per-task": "cpus"}
_OF_A_PART = {"time": "minutes"} | {
    name: f"node: {{{key}: ...}}" for name, key in (*_OF_A_NODE.items(), ("gpus", "gpus"))
}
"""What sbatch calls differently, and how it is written here."""
_ELSEWHERE = _OF_A_PART | {
    "array": "max_parallel",
    "export": "environment",
    "modules": "setup: [module load ...]",
    "signal": "signal_seconds",
    **{
        name: f"options: {{{name}: ...}}"
        for name in ("exclude", "licenses", "mail-type", "mail-user", "nodelist", "reservation")
    },
}
Minutes: TypeAlias = Annotated[int, at_least(1, most=366 * 24 * 60)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeNode:
    """One node of the partition; a run gets the share of it that its GPU or its cores are."""

    cpus: Annotated[int, at_least(1, most=100_000)]  # cores
    gpus: Annotated[int, at_least(0, most=1_000)] = 0  # GPUs
    # GB; none: none is asked for, the cluster's default counts
    memory_gb: Annotated[float, above(0, most=1_000_000)] | None = None

    ELSEWHERE: ClassVar[Mapping[str, str]] = _OF_A_NODE

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterPart:
    """Where one sort of work goes instead. What it leaves open is as for the rest of the cluster;
    with a `partition` of its own, `qos`, `constraint` and `gpu_type` are its own too.
    """

    # what a node has; none here and below: as for the rest of the cluster
    node: ComputeNode | None = None
    # with one of its own, `qos`, `constraint` and `gpu_type` are its own too
    partition: str | None = None
    account: str | None = None  # that is charged
    qos: str | None = None  # quality of service
    constraint: str | None = None  # features of a node
    gpu_type: str | None = None  # as in --gpus-per-node=TYPE:1
    minutes: Minutes | None = None  # time limit of a job

    ELSEWHERE: ClassVar[Mapping[str, str]] = _OF_A_PART

    def __post_init__(self) -> None:
        _lines(self, "partition", "account", "qos", "constraint", "gpu_type")
        check_bounds(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """How jobs are asked for. Nothing of it changes a result."""

    node: ComputeNode  # what a node has; a run gets the part of it that its GPU, or its cores, are
    partition: str | None = None  # of sbatch, as the next three; none: SLURM's default
    account: str | None = None  # that is charged
    qos: str | None = None  # quality of service
    constraint: str | None = None  # features of a node: `a100`
    gpu_type: str | None = None  # as in --gpus-per-node=TYPE:1, where a cluster wants it named
    cpu: ClusterPart | None = None  # for runs that need no GPU
    timing: ClusterPart | None = None  # for runs that time something, alone on a node
    # more options of sbatch, by their long names
    options: Mapping[str, str] = field(default_factory=dict)
    # time limit of a job; a run that needs longer goes on in its next attempt
    minutes: Minutes = 240
    # seconds before the limit at which a run saves its checkpoint and requeues; SLURM takes no more
    signal_seconds: Annotated[int, at_least(1, most=65_535)] = 120
    requeue: bool = True  # false: jobs may not go back into the queue here
    # jobs of one array; the cluster's own MaxArraySize counts too
    max_array_size: Annotated[int, at_least(1, most=4_000_000)] = 1000
    max_parallel: Annotated[int, at_least(1, most=1_000_000)] = 64  # jobs of one array at once
    # attempts in a row that get no further, before a run counts as failed
    attempts: Annotated[int, at_least(1, most=10_000)] = 5
    setup: tuple[str, ...] = ()  # shell lines at the start of every job
    # variables of the jobs; `$NAME` is put in on the node
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None  # the interpreter; none: the one that submits
    # a folder that all nodes see, for scripts and copies of the code; none: `slurm` in the results
    # folder
    scratch: str | None = None

    ELSEWHERE: ClassVar[Mapping[str, str]] = _ELSEWHERE

    def __post_init__(self) -> None:
        _lines(self, "partition", "account", "qos", "constraint", "gpu_type", "python", "scratch")
        check_bounds(self)
        for part, minutes in self._minutes():
            if self.signal_seconds >= 60 * minutes:
                least = f"must be below the time limit of {60 * minutes} s{part}"
                raise FieldError("signal_seconds", f"{least}, got {self.signal_seconds}")
        for key, wrong in (("environment", wrong_variable), ("options", wrong_option)):
            for name, value in getattr(self, key).items():
                what = wrong(name) or ("holds a zero byte" if "\0" in value else None)
                if what is not None:
                    raise FieldError(key, f"'{_shown(name)}' {what}")
        for name, value in self.options.items():
            if not value.isprintable():
                raise FieldError("options", f"{name}: must be one line, got {value!r}")

    def _minutes(self) -> Iterator[tuple[str, int]]:
        yield "", self.minutes
        for name in ("cpu", "timing"):
            part = getattr(self, name)
            if part is not None and part.minutes is not None:
                yield f" in {name}", part.minutes

    @property
    def device(self) -> Device:
        """What runs compute on where a profile leaves it open."""
        return "cuda" if self.node.gpus else "cpu"

    def at(self, part: ClusterPart | None) -> Cluster:
        """The cluster as work of that part sees it."""
        if part is None:
            return self
        names = ("node", "partition", "account", "qos", "constraint", "gpu_type", "minutes")
        reset = () if part.partition is None else ("qos", "constraint", "gpu_type")
        fields = {name: getattr(part, name) for name in names}
        changes = {
            name: value for name, value in fields.items() if value is not None or name in reset
        }
        return replace(self, **changes, cpu=None, timing=None)

    def folder(self, results: Path) -> Path:
        """Where snapshots of the code, job scripts and their output lie. HarnessError where that
        is no place for them.
        """
        if self.scratch is None:
            folder = results / "slurm"
        else:
            text = os.path.expanduser(os.path.expandvars(self.scratch))
            unknown = re.match(r"~[^/]*", text) or VARIABLES.search(text)
            if unknown is not None:
                raise HarnessError(
                    f"scratch '{self.scratch}' of the cluster description: {unknown[0]} is not "
                    "known here; write the folder out, or set the variable"
                )
            folder = Path(text).absolute()
        forbidden = re.search("|".join(_NO_PATH), str(folder)) or (not str(folder).isprintable())
        if forbidden:
            what = f"'{forbidden[0]}'" if isinstance(forbidden, re.Match) else "such characters"
            raise HarnessError(
                f"jobs cannot work in {_shown(str(folder))}: the path must not hold {what}; give "
                "`scratch:` in the cluster description another folder, which all nodes see"
            )
        return folder


_NO_PATH = (":", "%j", "%t", "%A", "%a")
"""Ends an entry of Python's search path; stand for the job's numbers in submitit's."""
_OURS = re.compile(
    r"array|chdir|comment|cpus-per-task|dependency|error|exclusive|export|gpus-per-node|input|"
    r"job-name|kill-on-invalid-dep|mem|no-requeue|nodes|ntasks|ntasks-per-node|open-mode|output|"
    r"parsable|requeue|signal|test-only|time|wait|wrap"
)
_KEYS = frozenset({"account", "constraint", "partition", "qos"})


def wrong_option(name: str) -> str | None:
    """Why that cannot be an option of sbatch here."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name, re.ASCII):
        return "is no option of sbatch: write its long name, without --"
    if name in _KEYS:
        return f"has a key of its own: write `{name}:` outside of options"
    if not _OURS.fullmatch(name):
        return None
    return "is set by harness itself" + (f", by `{_ELSEWHERE[name]}`" if name in _ELSEWHERE else "")


@contextmanager
def as_in_jobs(cluster: Cluster) -> Iterator[None]:
    """With the variables that jobs will have: a plan made by other ones would leave runs out."""
    before = dict(os.environ)
    try:
        for name, value in cluster.environment.items():
            os.environ[name] = VARIABLES.sub(
                lambda found: "$" if found[1] else os.environ.get(found[2] or found[3], ""), value
            )
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _lines(of: object, *names: str) -> None:
    for name in names:
        value = getattr(of, name)
        if value is not None and not (value.strip() and value.isprintable()):
            raise FieldError(name, f"must be one line of text, got {value!r}")


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResources:
    """What one job asks for: jobs of one shape share an array."""

    nodes: int
    tasks: int  # on each node; a run's processes, one a task
    cpus: int  # for each task
    gpus: int  # on each node
    memory_mb: int | None  # on each node
    minutes: int
    exclusive: bool


def find_cluster(given: str | None) -> Path:
    """The file of the command line, of the environment, or of the user; HarnessError without."""
    named = given or variables.value(VARIABLE)
    home = variables.home()
    path = user_path(given, options(cluster=None)) if given else variables.file(VARIABLE)
    if path is None and home is not None:
        path = home / USER_FILE.removeprefix("~/")
    if path is not None and path.is_file():
        return path
    if named:
        how = options(cluster=None) if given else f"${VARIABLE}"
        raise HarnessError(f"there is no cluster description {path} (from {how})")
    raise HarnessError(
        f"{options(executor='slurm')} needs a description of the cluster: give one with "
        f"{options(cluster=None)}, set ${VARIABLE} or write {USER_FILE}; docs/cluster.md shows one"
    )


def load_cluster(path: Path) -> Cluster:
    """The cluster of a file; SpecError with everything that is wrong in it."""
    root, problems = read_yaml(path)
    if not isinstance(root, MapNode):
        what = "a cluster description must be a mapping with node, partition, minutes and others"
        raise SpecError(problems or [Diagnostic(root.where, what)])
    problems = [*problems, *_wrong_names(root)]
    if problems:
        raise SpecError(problems)
    builder = Builder()
    cluster = builder.build(root, Cluster)
    problems = [*problems, *builder.problems]
    if not problems:
        try:
            whole_commands(cluster.setup)
        except ValueError as error:
            problems.append(Diagnostic(root.find("setup"), f"setup: {error}"))
    if problems:
        raise SpecError(problems)
    assert isinstance(cluster, Cluster), "what cannot be built has a problem"
    return cluster


def _wrong_names(root: MapNode) -> Iterator[Diagnostic]:
    """At their own places, which a whole description does not know."""
    for key, wrong in (("environment", wrong_variable), ("options", wrong_option)):
        node = root.entries.get(key)
        for name, where, _ in node if isinstance(node, MapNode) else ():
            what = wrong(name)
            if what is not None:
                yield Diagnostic(where, f"{key}: '{_shown(name)}' {what}")


def with_workers_that_fit(resources: Resources, cluster: Cluster, *, device: Device) -> Resources:
    """The resources with no more workers than let every GPU of a node be used."""
    node = cluster.node
    if device != "cuda" or not node.gpus or node.gpus > node.cpus:
        return resources
    cpus_per_gpu = node.cpus // node.gpus
    spare = cpus_per_gpu - resources.threads
    if spare < 1 or resources.workers <= spare:
        return resources
    return replace(resources, workers=spare)


def job_resources(
    resources: Resources,
    cluster: Cluster,
    *,
    device: Device,
    exclusive: bool = False,
    most: int = 1,
) -> JobResources:
    """What a run with these resources, which at most so many processes can compute, asks for.

    HarnessError where the cluster's nodes cannot give it.
    """
    node = cluster.node
    resources = with_workers_that_fit(resources, cluster, device=device)
    if device == "cuda" and not node.gpus:
        raise HarnessError(
            "the profile asks for a GPU, and the cluster description has node.gpus: 0; give the "
            f"number of GPUs of a node there, or run with {options(device='cpu')}"
        )
    least = resources.threads + resources.workers
    room = min(node.cpus // least, node.gpus if device == "cuda" else node.cpus)
    if not room:
        raise HarnessError(
            f"a process asks for {least} CPUs (threads {resources.threads}, workers "
            f"{resources.workers}), a node of the cluster has {node.cpus}; lower them in the "
            "profile's resources, or correct node.cpus"
        )
    nodes, tasks = _spread(resources, node, room, most, device)
    cpus = max(least, node.cpus // node.gpus) if device == "cuda" else least
    cpus = min(cpus, node.cpus // tasks)
    gpus = tasks if device == "cuda" else 0
    fraction = max(gpus / node.gpus if gpus else 0.0, tasks * cpus / node.cpus)
    return JobResources(
        nodes=nodes,
        tasks=tasks,
        cpus=cpus,
        gpus=gpus,
        memory_mb=_memory_mb(resources, node, fraction),
        minutes=_minutes(resources, cluster),
        exclusive=exclusive,
    )


def _spread(
    resources: Resources, node: ComputeNode, room: int, most: int, device: Device
) -> tuple[int, int]:
    """On how many nodes, and how many processes on each of them."""
    processes = min(resources.processes, most)
    nodes = min(resources.nodes or math.ceil(processes / room), processes)
    if processes < resources.processes:  # a small run, or one that only one process can compute
        return nodes, max(1, min(room, processes // nodes))
    if processes % nodes:
        fewer = processes // nodes * nodes
        raise HarnessError(
            f"{processes} processes do not spread evenly over {nodes} nodes, which have room for "
            f"{room} each: ask for {fewer} or {fewer + nodes}, or say `nodes` in the profile's "
            "resources"
        )
    tasks = processes // nodes
    if tasks > room:
        has = f"{node.gpus} GPUs and {node.cpus} CPUs" if device == "cuda" else f"{node.cpus} CPUs"
        each = resources.threads + resources.workers
        raise HarnessError(
            f"{processes} processes on {nodes} nodes are {tasks} a node, and a node of the cluster "
            f"({has}) has room for {room} with {each} CPUs each (threads {resources.threads}, "
            f"workers {resources.workers}); ask for more nodes or fewer processes, or correct "
            "the cluster's `node`"
        )
    return nodes, tasks


def _memory_mb(resources: Resources, node: ComputeNode, fraction: float) -> int | None:
    wanted = resources.memory_gb
    if node.memory_gb is None:
        return None if wanted is None else round(wanted * 1024)
    if wanted is not None and wanted > node.memory_gb:
        raise HarnessError(
            f"the profile asks for {wanted:g} GB of memory, a node of the cluster has "
            f"{node.memory_gb:g}; lower resources.memory_gb, or correct node.memory_gb"
        )
    return int((node.memory_gb * fraction if wanted is None else wanted) * 1024)


def _minutes(resources: Resources, cluster: Cluster) -> int:
    """A run that needs more than the limit goes on from its checkpoint in the next attempt."""
    if resources.hours is None:
        return cluster.minutes
    # never so short that the signal would come at once
    least = cluster.signal_seconds // 60 + 1
    return min(cluster.minutes, max(least, round(resources.hours * 60)))
