"""The evaluations `knn` and `linear` with the images that were trained on, and no others."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.config import DataConfig
from harness.run import TASKS, RunContext
from harness.tasks.knn import KnnRun
from harness.tasks.linear import LinearRun

# without few-shot banks: they are of the first images of a class either way
VOTES = {f"val/knn{k}_top1": f"val/knn{k}_own_top1" for k in (10, 20, 100, 200)}
PROBES = {f"val/linear_{name}": f"val/linear_own_{name}" for name in ("split_top1", "split_rate")}
PROBES |= {"val/linear_best_top1": "val/linear_own_best_top1"}


@TASKS.register("knn-own")
@dataclass(frozen=True, kw_only=True, slots=True)
class OwnKnnRun(KnnRun):
    """k-NN whose bank is what was trained on: a fifth of the training set after training on it.

    `val/knn20_own_top1` (k 10, 20, 100, 200), in percent, as `val/knn20_top1` of `KnnRun`.
    AttMask's released evaluation has both (`--subset`; arXiv 2203.12719).
    """

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Votes."""
        return frozenset(VOTES.values())

    @classmethod
    def bank(cls, trained: DataConfig) -> DataConfig:
        """Those."""
        return trained

    def execute(self, context: RunContext) -> dict[str, float]:
        """As `KnnRun`, under names of its own."""
        found = KnnRun.execute(self, context)
        return {VOTES[name]: value for name, value in found.items() if name in VOTES}


@TASKS.register("linear-own")
@dataclass(frozen=True, kw_only=True, slots=True)
class OwnLinearRun(LinearRun):
    """A linear classifier fitted to what the network was trained on; metrics of `LinearRun`, as
    `val/linear_own_best_top1`.
    """

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Chosen on a split, and on the images that judge."""
        return frozenset(PROBES.values())

    @classmethod
    def bank(cls, trained: DataConfig) -> DataConfig:
        """Those."""
        return trained

    def execute(self, context: RunContext) -> dict[str, float]:
        """As `LinearRun`, under names of its own."""
        return {PROBES[name]: value for name, value in LinearRun.execute(self, context).items()}
