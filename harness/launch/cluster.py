"""What a SLURM cluster offers, as its users describe it in one YAML file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import variables
from harness.device import Device
from harness.errors import FieldError, HarnessError, Problem, SpecError
from harness.run import Resources
from harness.spec.build import Builder
from harness.spec.nodes import MapNode
from harness.spec.strict_yaml import read_yaml
from harness.variables import user_path

VARIABLE = "HARNESS_CLUSTER"
USER_FILE = "~/.config/harness/cluster.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node of the partition; a run gets the share of it that its GPU or its cores are."""

    cpus: int
    gpus: int = 0
    memory_gb: float | None = None  # None: ask for none, the cluster's default counts

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                raise FieldError(name, f"must be at least {least}, got {getattr(self, name)}")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise FieldError("memory_gb", f"must be above 0, got {self.memory_gb:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """How jobs are asked for. Nothing of it changes a result."""

    node: Node
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: int = 240  # time limit of a job; a run that needs longer goes on in the next attempt
    signal_seconds: int = 120  # so long before the limit, a run saves its checkpoint and requeues
    max_array_size: int = 1000
    max_parallel: int = 64  # jobs of one array at once
    attempts: int = 5  # in a row that get no further, before a run counts as failed
    setup: tuple[str, ...] = ()  # shell lines at the start of every job
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None  # None: the one that submits
    scratch: str | None = None  # shared by all nodes; None: `slurm` in the results folder

    def __post_init__(self) -> None:
        limits = (("minutes", 1), ("signal_seconds", 1), ("max_array_size", 1))
        for name, least in (*limits, ("max_parallel", 1), ("attempts", 1)):
            if getattr(self, name) < least:
                raise FieldError(name, f"must be at least {least}, got {getattr(self, name)}")
        if self.signal_seconds >= 60 * self.minutes:
            what = f"must be below the time limit of {60 * self.minutes} s"
            raise FieldError("signal_seconds", f"{what}, got {self.signal_seconds}")

    @property
    def device(self) -> Device:
        """What runs compute on where a profile leaves it open."""
        return "cuda" if self.node.gpus else "cpu"

    def folder(self, results: Path) -> Path:
        """Where snapshots of the code, job scripts and their output lie."""
        if self.scratch is None:
            return results / "slurm"
        return user_path(os.path.expandvars(self.scratch), "scratch").absolute()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
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
    own = variables.home()
    path = user_path(given, "--cluster") if given else variables.file(VARIABLE)
    if path is None and own is not None:
        path = own / USER_FILE.removeprefix("~/")
    if path is not None and path.is_file():
        return path
    if named:
        how = "--cluster" if given else f"${VARIABLE}"
        raise HarnessError(f"there is no cluster description {path} (from {how})")
    raise HarnessError(
        "--executor slurm needs a description of the cluster: give --cluster FILE, set "
        f"${VARIABLE} or write {USER_FILE}; docs/cluster.md shows one"
    )


def load_cluster(path: Path) -> Cluster:
    """The cluster of a file; SpecError with everything that is wrong in it."""
    root, problems = read_yaml(path)
    if not isinstance(root, MapNode):
        what = "a cluster description must be a mapping with node, partition, minutes and others"
        raise SpecError(problems or [Problem(root.where, what)])
    builder = Builder()
    cluster = builder.build(root, Cluster)
    problems = [*problems, *builder.problems]
    if problems:
        raise SpecError(problems)
    assert isinstance(cluster, Cluster), "what cannot be built has a problem"
    return cluster


def shape_of(
    resources: Resources,
    cluster: Cluster,
    *,
    device: Device,
    exclusive: bool = False,
    most: int = 1,
) -> Shape:
    """What a run with these resources, which at most so many processes can compute, asks for.

    HarnessError where the cluster's nodes cannot give it.
    """
    node = cluster.node
    if device == "cuda" and not node.gpus:
        raise HarnessError(
            "the profile asks for a GPU, and the cluster description has node.gpus: 0; give the "
            "number of GPUs of a node there, or run with --device cpu"
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
    share = max(gpus / node.gpus if gpus else 0.0, tasks * cpus / node.cpus)
    return Shape(
        nodes=nodes,
        tasks=tasks,
        cpus=cpus,
        gpus=gpus,
        memory_mb=_memory_mb(resources, node, share),
        minutes=_minutes(resources, cluster),
        exclusive=exclusive,
    )


def _spread(
    resources: Resources, node: Node, room: int, most: int, device: Device
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


def _memory_mb(resources: Resources, node: Node, share: float) -> int | None:
    wanted = resources.memory_gb
    if node.memory_gb is None:
        return None if wanted is None else round(wanted * 1024)
    if wanted is not None and wanted > node.memory_gb:
        raise HarnessError(
            f"the profile asks for {wanted:g} GB of memory, a node of the cluster has "
            f"{node.memory_gb:g}; lower resources.memory_gb, or correct node.memory_gb"
        )
    return int((node.memory_gb * share if wanted is None else wanted) * 1024)


def _minutes(resources: Resources, cluster: Cluster) -> int:
    """A run that needs more than the limit goes on from its checkpoint in the next attempt."""
    if resources.hours is None:
        return cluster.minutes
    # never so short that the signal would come at once
    least = cluster.signal_seconds // 60 + 1
    return min(cluster.minutes, max(least, round(resources.hours * 60)))
