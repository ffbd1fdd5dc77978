"""Finished and failed runs in a store, written as a worker writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.spec.expand import Expansion, Run
from harness.store import FAILED, RunWriter, Store, claim

ENVIRONMENT = {
    "harness": "0.1.0",
    "commit": "0123456789abcdef",
    "dirty": None,
    "python": "3.11.7",
    "platform": "Linux",
    "cpu": "A CPU",
    "cores": 2,
    "threads": 1,
    "gpus": [],
    "packages": {"torch": "2.0", "timm": "1.0"},
}


def finish(
    store: Store,
    run: Run,
    metrics: Mapping[str, float],
    *,
    history: Sequence[Mapping[str, Any]] = (),
    environment: Mapping[str, Any] | None = None,
) -> None:
    """A run with its result; `environment` changes some of the facts."""
    lease = claim(store.create(run))
    assert lease is not None
    writer = RunWriter(lease)
    writer.environment({**ENVIRONMENT, **(environment or {})})
    for record in history:
        writer.metric(record)
    writer.finish(metrics, device="cpu")
    writer.close()


def fail(store: Store, run: Run, error: str) -> None:
    """A run that ended in an error."""
    lease = claim(store.create(run))
    assert lease is not None
    RunWriter(lease).state(FAILED, error=error)
    lease.release(FAILED, error)


def run_of(expansion: Expansion, kind: str, row: str, seed: int | None) -> Run:
    """The run of a row."""
    wanted = (kind, row, seed)
    found = ((run, (run.task, run.title.row, run.title.seed)) for run in expansion.runs)
    return next(run for run, about in found if about == wanted)


def fill(store: Store, expansion: Expansion, accuracies: Mapping[str, Sequence[float]]) -> None:
    """Train every row with these accuracies, one for each seed, and count the cost of all."""
    for row, values in accuracies.items():
        for seed, value in enumerate(values):
            run = run_of(expansion, "train", row, seed)
            finish(store, run, {"val/top1": value}, history=history(value))
    for run in expansion.runs:
        if run.task == "cost":
            finish(store, run, {"teacher/train_pmacs": 1767.6, "teacher/gmacs": 4.6})


def history(top1: float) -> list[dict[str, Any]]:
    """Two epochs of metrics."""
    kept = [0.5] * 8 + [1.0] * 8
    return [
        {"step": 1, "epoch": 0.5, "loss/total": 2.0},
        {"step": 2, "epoch": 1.0, "loss/total": 1.0},
        {"step": 2, "epoch": 1.0, "kept": kept},
        {"step": 2, "epoch": 1.0, "val/top1": top1 - 10},
        {"step": 4, "epoch": 2.0, "loss/total": 0.5},
        {"step": 4, "epoch": 2.0, "kept": kept[::-1]},
        {"step": 4, "epoch": 2.0, "val/top1": top1},
    ]
