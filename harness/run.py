"""What a run is to the code that executes it: a kind, a configuration, and a context to work in."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from harness.distributed import DistContext
from harness.errors import FieldError
from harness.evidence import Baseline, Evidence, FigureOf
from harness.registry import Registry

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from harness.train.config import TrainConfig

TASKS: Registry[type[Task]] = Registry("task", "harness.tasks", base=lambda: Task)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Where and with what a run is executed. Never part of its identity: results must not depend on
    it.
    """

    device: str = "auto"  # auto, cpu, cuda, cuda:1
    threads: int = 1  # CPU threads of torch in this process
    workers: int = 0  # data loading processes, for image sets that do not live in memory
    micro_batch: int | None = None  # images per forward pass of a process: gradients accumulate
    # that train one model together, each with its share of every batch and, where there are GPUs,
    # one of its own; sums are then rounded in another order
    processes: int = 1
    nodes: int | None = None  # asked of a cluster, for those; None: as few as have room
    checkpoint_seconds: float = 20.0  # at most so much work is lost when a process is killed
    memory_gb: float | None = None  # asked of a cluster; None: the share of a node's
    hours: float | None = None  # asked of a cluster, within its limit; None: the limit

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise FieldError(
                "device", f"must be auto, cpu, cuda or cuda:NUMBER, got '{self.device}'"
            )
        limits = [("threads", 1), ("workers", 0), ("micro_batch", 1), ("processes", 1)]
        limits += [("nodes", 1), ("checkpoint_seconds", 0)]
        for key in ("memory_gb", "hours"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise FieldError(key, f"must be above 0, got {value:g}")
        for key, least in limits:
            value = getattr(self, key)
            if value is not None and value < least:
                raise FieldError(key, f"must be at least {least}, got {value}")
        if self.processes > 1 and ":" in self.device:
            what = f"must be auto, cpu or cuda with {self.processes} processes"
            raise FieldError("device", f"{what}, got '{self.device}'")
        if self.nodes is not None and self.processes % self.nodes:
            what = f"must divide the number of processes, {self.processes}"
            raise FieldError("nodes", f"{what}: each node has as many; got {self.nodes}")


class RunContext(Protocol):
    """The run directory as a run sees it.

    Writes are atomic and fenced: a run that lost its lease cannot write.
    """

    directory: Path
    resources: Resources
    dependencies: Mapping[str, Path]  # identity -> directory of a finished run that this one needs
    dist: DistContext  # the processes that compute the run; only the first one's writes count
    rendezvous_store: Store | None  # through which they find each other; None: it is alone

    def log(self, message: str) -> None:
        """One line for `log.txt`."""

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object to `metrics.jsonl`."""

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """Tell how far the run is; cheap to call at every step (throttled inside)."""

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Replace `checkpoint.pt` by what `write` puts at the path it is given.

        Remembers how long `metrics.jsonl` is at this point, in a line that is added to the file.
        Readers of torch's files, and of files of one line, do not see it.
        """

    def restore_checkpoint(self) -> Path | None:
        """The checkpoint to resume from, or None.

        Cuts `metrics.jsonl` back to where it stood at that checkpoint.
        """

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """Put a final file (`model.safetensors`, say) into the run directory, atomically."""

    def should_stop(self) -> bool:
        """Whether a signal asked the run to save its checkpoint and raise `Interrupted`."""


class Task(ABC):
    """A kind of run (`train`, `flops`, `throughput`): a frozen config dataclass that can execute
    itself.

    Everything in its fields is identity. `version` is raised when a change of code changes numbers.
    """

    version: ClassVar[int] = 1
    batched: ClassVar[bool] = False  # takes well under a second: many such runs share one process
    # times something: nothing else may run on the machine meanwhile
    exclusive: ClassVar[bool] = False
    seeded: ClassVar[bool] = True  # False: the seed changes nothing, one run serves all seeds

    # what a report must know of its values; where no seed changes them and no evidence is declared,
    # they are exact, or timings where the run must be alone
    evidence: ClassVar[Evidence] = "seeds"
    baseline: ClassVar[Baseline | None] = None  # of columns with `compare: ratio`
    # by metric: the one that holds its ratio to the baseline, both timed in turn in one process
    in_turn: ClassVar[Mapping[str, str]] = {}
    curves: ClassVar[frozenset[str]] = frozenset()  # metrics to follow beside the table's main one
    figures: ClassVar[tuple[FigureOf, ...]] = ()

    # of a trained network: `of` gets the row with the run that trains it as the student's weights;
    # a row whose method trains nothing comes as it is
    is_evaluation: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.seeded and cls.evidence == "seeds":
            cls.evidence = "timing" if cls.exclusive else "exact"

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """The names that `execute` may give, so that a column cannot ask for another; empty: not
        declared, and not checked.
        """
        return frozenset()

    def lacks(self, metric: str) -> str | None:
        """Why this run cannot give `metric`, which its kind declares; None if it may."""
        return None

    @classmethod
    @abstractmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The run of this kind for a row described by `train`, or None where it makes no sense (no
        teacher, say).
        """

    @abstractmethod
    def execute(self, context: RunContext) -> dict[str, float]:
        """Do the work; return metric name -> value. Raises RunFailed, DataError, WeightsError,
        Interrupted.
        """

    def max_processes(self) -> int:
        """How many can compute it together."""
        return 1

    def why_not_divisible(self, processes: int) -> str | None:
        """Why so many processes cannot compute it, where they can others of its kind; None for one
        process.
        """
        return None

    @abstractmethod
    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """What this machine lacks to execute the run ("data set imagenet-1k: run ..."), each with
        the next step.
        """

    @abstractmethod
    def macs(self) -> float:
        """Multiply-adds of the whole run, for cost estimates and longest-first scheduling."""
