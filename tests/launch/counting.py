"""Run kinds that count: loaded into workers by HARNESS_PLUGINS, to crash, stop and resume them.

Its numbers depend on every step before, so a step lost or done twice shows in the result. With
COUNTING_HOLD=7 a run waits after step 7 until it is stopped, or the file COUNTING_GO is there: so a
test knows where it stands, however busy the machine is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, Self
from weakref import WeakSet

from harness.distributed import process_group
from harness.errors import Interrupted, RunFailed, StoppedAlone
from harness.launch import worker_group
from harness.models.config import Weights
from harness.run import TASKS, RunContext, Task
from harness.train.config import TrainConfig

MODULUS = 1_000_003

if "COUNTING_PATIENCE" in os.environ:  # how long a worker waits for a process that cannot be woken
    worker_group.PATIENCE = float(os.environ["COUNTING_PATIENCE"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Counting(Task):
    """Steps a little generator; `behaviour` says how it misbehaves."""

    steps: int = 10
    seed: int = 0
    pause: float = 0.0  # seconds of each step
    checkpoint_every: int = 5
    behaviour: str = ""
    depends_on: str | None = None

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """From fields of a training config that have nothing to do with it."""
        return cls(
            steps=int(train.recipe.epochs),
            seed=train.seed,
            pause=train.recipe.min_lr,
            behaviour={0.5: "fail", 0.25: "needs", 0.125: "stop"}.get(
                train.recipe.weight_decay, ""
            ),
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """Count up."""
        _note(f"start {type(self).__name__} {self.seed}")
        if os.environ.get("COUNTING_TORCH"):
            import torch  # noqa: F401 (environment.json tells its settings)
        step, value = 0, self.seed
        if self.behaviour == "changed":
            context.before_result(lambda: None)
            context.before_result(lambda: "the images changed")
        checkpoint = context.restore_checkpoint()
        if checkpoint is not None:
            step, value = json.loads(checkpoint.read_text(encoding="utf-8").splitlines()[0])
            context.log(f"resuming at step {step}")
        while step < self.steps:
            time.sleep(self.pause)
            step, value = step + 1, (value * 48271 + step) % MODULUS
            context.metric({"step": step, "value": value})
            context.progress(step, self.steps)
            self._misbehave(context, step)
            while _held(step) and not context.should_stop():
                time.sleep(0.01)
                context.progress(step, self.steps)
            stop = context.should_stop()
            if step % self.checkpoint_every == 0 or stop:
                _save(context, step, value)
            if stop:
                raise Interrupted(f"at step {step}")
        context.save_artifact("model.txt", lambda path: _write(path, f"{value}\n"))
        _note(f"end {type(self).__name__} {self.seed}")
        return {"count/value": float(value), "val/top1": value / MODULUS * 100}

    def _misbehave(self, context: RunContext, step: int) -> None:
        if self.behaviour == "fail" and step == 3:
            raise RunFailed("the loss is nan at step 3")
        if self.behaviour == "stop" and step == 3:
            raise Interrupted("before its first checkpoint")
        if self.behaviour == "crash" and step == 3:
            raise ValueError("a bug")
        if self.behaviour == "untidy" and step == 3:
            os.environ["LEFT_BEHIND"] = "1"
        behaviour = self.behaviour
        if "COUNTING_SECOND" in os.environ and _is_second():
            behaviour = os.environ["COUNTING_SECOND"]
        if behaviour in LEFT_BEHIND and step == 3:
            LEFT_BEHIND[behaviour]()
        if self.behaviour == "hold" and step == 3:
            _note(f"held {len(_HELD)} before")
            _HELD.add(_InACircle())
        if self.behaviour == "fill" and step == 7:
            context.save_artifact("large.bin", lambda path: _write(path, "x" * 30_000_000))

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Something that nobody has, if it is to be blocked."""
        return ["unobtainium: dig deeper"] if self.behaviour == "needs" else []

    def macs(self) -> float:
        """One per step."""
        return float(self.steps)


def _leave_torch_in_64_bits() -> None:
    import torch

    torch.set_default_dtype(torch.float64)


def _leave_a_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def _poison() -> None:
    sys.modules["json.decoder"] = ModuleType("json.decoder")


def _raise(error: BaseException) -> None:
    raise error


LEFT_BEHIND: dict[str, Callable[[], object]] = {
    "thread": lambda: threading.Thread(target=threading.Event().wait).start(),
    "process": lambda: multiprocessing.Process(target=time.sleep, args=(600,)).start(),
    "dtype": _leave_torch_in_64_bits,
    "folder": _leave_a_folder,
    "modules": _poison,
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "path": lambda: sys.path.insert(0, "/nowhere"),
    "umask": lambda: os.umask(0o077),
    "exit": lambda: os._exit(0),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
}
"""What runs do to the process that others share with them."""


@TASKS.register("counting")
@dataclass(frozen=True, kw_only=True, slots=True)
class CountingRun(Counting):
    """One process each."""


@TASKS.register("counting-batched")
@dataclass(frozen=True, kw_only=True, slots=True)
class BatchedRun(Counting):
    """Many in one process."""

    batched: ClassVar[bool] = True


@TASKS.register("counting-published")
@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRun(Counting):
    """It names weights of the model hub."""

    weights: Weights = Weights(hub="deit_tiny_patch16_224.fb_in1k")


@TASKS.register("counting-alone")
@dataclass(frozen=True, kw_only=True, slots=True)
class AloneRun(Counting):
    """Nothing else may run meanwhile."""

    exclusive: ClassVar[bool] = True


@TASKS.register("counting-together")
@dataclass(frozen=True, kw_only=True, slots=True)
class TogetherRun(Counting):
    """Two processes, which take every step together; `behaviour` is the second one's."""

    checkpoint_every: int = 1

    def max_processes(self) -> int:
        """Two."""
        return 2

    def execute(self, context: RunContext) -> dict[str, float]:
        """Count up in each process; the numbers of both must agree."""
        import torch

        with process_group(context.dist, context.rendezvous_store, torch.device("cpu")):
            return self._count(context)

    def _count(self, context: RunContext) -> dict[str, float]:
        step, value = 0, self.seed
        checkpoint = context.restore_checkpoint()
        if context.dist.any_rank(checkpoint is not None and context.dist.rank == 0)[0]:
            assert checkpoint is not None
            step, value = json.loads(checkpoint.read_text(encoding="utf-8").splitlines()[0])
            context.log(f"resuming at step {step}")
        while step < self.steps:
            time.sleep(self.pause)
            step, value = step + 1, (value * 48271 + step) % MODULUS
            context.metric({"step": step, "value": value})
            context.progress(step, self.steps)
            if context.dist.rank == 1:
                self._misbehave(context, step)
            while self.behaviour == "starve" and context.dist.rank == 1 and _held(step):
                if context.should_stop():
                    raise StoppedAlone(f"at step {step}, while it waited for images")
                time.sleep(0.01)
            if self.behaviour == "stuck" and step == 3:
                time.sleep(600)  # as in a sum on a GPU, which the end of another does not end
            (stop,) = context.dist.any_rank(context.should_stop())
            while context.dist.any_rank(_held(step))[0] and not stop:
                time.sleep(0.01)
                (stop,) = context.dist.any_rank(context.should_stop())
            _save(context, step, value)
            if stop:
                raise Interrupted(f"at step {step}")
        return {"count/value": float(value), "val/top1": value / MODULUS * 100}


class _InACircle:
    """What the count of references alone never frees."""

    def __init__(self) -> None:
        self.itself = self


_HELD: WeakSet[_InACircle] = WeakSet()


def expected(steps: int, seed: int) -> list[dict[str, int]]:
    """The lines of `metrics.jsonl` of a run that was never disturbed."""
    lines, value = [], seed
    for step in range(steps):
        value = (value * 48271 + step) % MODULUS
        lines.append({"step": step + 1, "value": value})
    return lines


def _held(step: int) -> bool:
    """Whether a run is to wait after this step."""
    if os.environ.get("COUNTING_HOLD") != str(step):
        return False
    go = os.environ.get("COUNTING_GO")
    return go is None or not os.path.exists(go)


def _save(context: RunContext, step: int, value: int) -> None:
    context.save_checkpoint(lambda path: _write(path, json.dumps([step, value])))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _is_second() -> bool:
    """Whether the run that goes on is the second of all."""
    journal = Path(os.environ["COUNTING_JOURNAL"]).read_text(encoding="utf-8")
    return journal.count("start ") == 2


def _note(line: str) -> None:
    """One line in the journal of the test: who computed what, when."""
    journal = os.environ.get("COUNTING_JOURNAL")
    if journal:
        with open(journal, "a", encoding="utf-8") as file:
            file.write(f"{line} {os.getpid()} {time.time()}\n")
