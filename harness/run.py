"""What a run is to the code that executes it: a task with its options, and a context to work in."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from harness.bounds import NotNegative, above, at_least, check_bounds
from harness.data.dataset import Labelling
from harness.distributed import DistContext
from harness.errors import FieldError
from harness.evidence import Baseline, Evidence, FigureOf
from harness.registry import Registry

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from harness.train.config import TrainConfig

TASKS: Registry[type[Task]] = Registry(
    "task",
    "harness.tasks",
    base=lambda: Task,
    renamed={
        **dict.fromkeys(("flops", "operations", "view-flops", "activations"), "cost"),
        "knn-own": "{name: knn, bank: subset}",
        "linear-own": "{name: linear, bank: subset}",
    },
)

Bank: TypeAlias = Literal["all", "subset"]
"""Of a training set: all of it, or what the network was trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Where and with what a run is executed. Never part of its identity: results must not depend on
    it.
    """

    device: str = "auto"  # auto, cpu, cuda or cuda:1; auto takes a GPU where there is one
    threads: Annotated[int, at_least(1, most=4096)] = 1  # CPU threads of torch in each process
    # processes that load images, for sets that do not live in memory; 0: none
    workers: Annotated[int, at_least(0, most=4096)] = 0
    # images per forward pass of a process; gradients are accumulated; none: all at once
    micro_batch: Annotated[int, at_least(1, most=1_000_000)] | None = None
    # processes that train one model together, each with its slice of every batch and, where there
    # are GPUs, one of its own; sums are then rounded in another order
    processes: Annotated[int, at_least(1, most=100_000)] = 1
    # micro-batches of a step whose teacher is in a process of its own: half of `processes` are
    # teachers, each starts on the first micro-batch while its student computes the second; none:
    # every process computes its teacher itself
    pipeline: Annotated[int, at_least(1, most=1_000_000)] | None = None
    # nodes of a cluster for those processes; must divide them; none: as few as have room
    nodes: Annotated[int, at_least(1, most=100_000)] | None = None
    # seconds between checkpoints: at most so much work is lost when a process is killed
    checkpoint_seconds: NotNegative = 20.0
    # GB of memory of each node, asked of a cluster; none: in proportion to the GPUs or cores
    memory_gb: Annotated[float, above(0, most=1_000_000)] | None = None
    # hours that a job may take, asked of a cluster within its own limit; none: that limit
    hours: Annotated[float, above(0, most=100_000)] | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise FieldError(
                "device", f"must be auto, cpu, cuda or cuda:NUMBER, got '{self.device}'"
            )
        if self.processes > 1 and ":" in self.device:
            what = f"must be auto, cpu or cuda with {self.processes} processes"
            raise FieldError("device", f"{what}, got '{self.device}'")
        if self.pipeline is not None and self.processes % 2:
            what = "needs an even number of `processes`, a teacher's for each student's"
            raise FieldError("pipeline", f"{what}; got {self.processes}")
        if self.pipeline is not None and self.micro_batch is not None:
            what = f"already cuts a step into {self.pipeline} micro-batches"
            raise FieldError("pipeline", f"{what}: leave `micro_batch` out")
        if self.nodes is not None and self.processes % self.nodes:
            what = f"must divide the number of processes, {self.processes}"
            raise FieldError("nodes", f"{what}: each node has as many; got {self.nodes}")

    @property
    def students(self) -> int:
        """The processes that have a slice of a batch each."""
        return self.processes if self.pipeline is None else self.processes // 2

    def for_run(self, task: Task) -> Resources:
        """As much of it as a run can use."""
        pipeline = self.pipeline if task.has_frozen_teacher() else None
        most = task.max_processes() * (1 if pipeline is None else 2)
        if pipeline == self.pipeline and self.processes <= most:
            return self
        return replace(self, processes=min(self.processes, most), nodes=None, pipeline=pipeline)


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

    def before_result(self, why_not: Callable[[], str | None]) -> None:
        """Ask `why_not`, before a result is kept, why what was computed must not be; None: it may.
        Where there is a reason, the run fails with it and loses its checkpoint.
        """

    def should_stop(self) -> bool:
        """Whether a signal asked the run to save its checkpoint and raise `Interrupted`."""


def set_aside(checkpoint: Path) -> Path:
    """Move a checkpoint that is of no use out of the way, so that the run starts over; where to.

    It is kept for who wants to look at it, as are those before it. Raises OSError.
    """
    names = (f"{checkpoint.stem}.damaged{n if n > 1 else ''}{checkpoint.suffix}" for n in count(1))
    aside = next(path for path in map(checkpoint.with_name, names) if not path.exists())
    return checkpoint.rename(aside)


class Task(ABC):
    """What a run does (`train`, `cost`, `throughput`): a frozen config dataclass that can execute
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
    # what it tells is said by the student's classifier, which a row that trains nothing may lack;
    # no matter for networks that tell boxes or masks: methods that train nothing do not take them
    asks_classifier: ClassVar[bool] = False
    # rows that it has something to say about, by what their students tell of an image
    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes"})

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
        """Why this run cannot give `metric`, which its task declares; None if it may."""
        return None

    @classmethod
    @abstractmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The run of this task for a row described by `train`, or None where it makes no sense (no
        teacher, say).
        """

    @abstractmethod
    def execute(self, context: RunContext) -> dict[str, float]:
        """Do the work; return metric name -> value. Raises RunFailed, DataError, WeightsError,
        Interrupted.
        """

    def max_processes(self) -> int:
        """How many can compute it together; teachers of a pipeline come on top."""
        return 1

    def has_frozen_teacher(self) -> bool:
        """Whether a process of its own can compute the teacher (`Resources.pipeline`)."""
        return False

    def why_not_computable(self, resources: Resources) -> str | None:
        """Why its steps cannot be cut as `resources`, its own, say; None if they can."""
        return None

    def why_not_divisible(self, processes: int) -> str | None:
        """Why so many processes cannot compute it, where they can others of its task; None for one
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


class BankTask(Task):
    """An evaluation that looks training images up, or is fitted to them: a column may say that they
    are those alone that the network was trained on, `from: {name: knn, bank: subset}`.
    """

    is_evaluation: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def of(cls, train: TrainConfig, bank: Bank = "all") -> Self | None:
        """As of any task, with these images."""
