"""Linear probing: classifiers on frozen features, their learning rate chosen in two ways."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.data.module import DataModule
from harness.data.sampler import Sampler
from harness.errors import Interrupted, WeightsError
from harness.evaluate.features import require_finite_features
from harness.evaluate.linear import LinearHeads
from harness.models.vit import VisionTransformer
from harness.run import RunContext
from harness.seeding import generator
from harness.train.checkpoint import DamagedCheckpoint, reading, starting_over
from harness.train.config import Augment
from harness.train.evaluation_data import EvaluationData, image_side, open_evaluation_data

if TYPE_CHECKING:
    from harness.tasks.linear import LinearRun

CROPS = Augment(interpolation="bilinear")  # as DINO's released linear evaluation


def probe(task: LinearRun, context: RunContext) -> dict[str, float]:
    """The metrics of `harness.tasks.linear`.

    The rate is chosen on the last tenth of every training class, by classifiers trained on the
    rest; then all rates are trained on the whole training set.
    """
    progress = _Progress(context, parts=2 if task.data.evaluate_on == "val" else 1)
    metrics: dict[str, float] = {}
    chosen = None
    if task.data.evaluate_on == "val":
        split = replace(task, data=replace(task.data, evaluate_on="holdout"))
        last = _ProbeTraining(split, progress, part=0).run()[-1]
        chosen = last.index(max(last))
    epochs = _ProbeTraining(task, progress, part=progress.parts - 1).run()
    if chosen is not None:
        metrics["val/linear_split_top1"] = epochs[-1][chosen]
        metrics["val/linear_split_rate"] = task.probe.rates[chosen]
    metrics["val/linear_best_top1"] = max(max(accuracies) for accuracies in epochs)
    return metrics


class _Progress:
    """Where the probe stands, in the checkpoint and for people."""

    def __init__(self, context: RunContext, *, parts: int) -> None:
        self.context, self.parts = context, parts
        self.accuracies: list[list[list[float]]] = [[] for _ in range(parts)]  # part, epoch, rate
        self.heads: dict[str, Tensor] | None = None  # of the part that was interrupted
        self._saved = time.monotonic()
        path = context.restore_checkpoint()
        if path is not None:
            try:
                with reading(path) as state:
                    self.accuracies, self.heads = list(state["accuracies"]), state["heads"]
                    assert len(self.accuracies) == parts, "of another number of parts"
            except DamagedCheckpoint as error:
                raise WeightsError(f"{error}: {starting_over(path)}") from error

    def after_epoch(self, heads: LinearHeads, *, part: int, epochs: int) -> None:
        """Tell, save now and then, and stop when asked to."""
        done = sum(map(len, self.accuracies))
        self.context.progress(done, self.parts * epochs, unit="epoch")
        latest = self.accuracies[part][-1]
        record = {"part": part, "epoch": len(self.accuracies[part]), "linear/top1": latest}
        self.context.metric(record)
        stop = self.context.should_stop() and done < self.parts * epochs
        old = time.monotonic() - self._saved > self.context.resources.checkpoint_seconds
        if stop or old:
            state = {"accuracies": self.accuracies, "heads": heads.state()}

            def write(path: Path) -> None:
                torch.save(state, path)

            self.context.save_checkpoint(write)
            self._saved = time.monotonic()
        if stop:
            raise Interrupted(f"after epoch {done} of {self.parts * epochs}")


class _ProbeTraining:
    """All rates over one training set, judged on one other after every epoch."""

    def __init__(self, task: LinearRun, progress: _Progress, *, part: int) -> None:
        self.task, self.progress, self.part = task, progress, part

    def run(self) -> list[list[float]]:
        """Top-1 of every rate after every epoch."""
        task, accuracies = self.task, self.progress.accuracies[self.part]
        probe = task.probe
        if len(accuracies) == probe.epochs:
            return accuracies
        evaluation_data = self._open()
        network = None
        if task.model is not None:
            network = evaluation_data.network(task.model, seed=task.seed)
        queries = self._features(network, evaluation_data.queries())
        heads = self._heads(
            evaluation_data.module, width=queries[0].shape[1], device=evaluation_data.device
        )
        if accuracies and self.progress.heads is not None:
            heads.load_state(self.progress.heads)
        batches = self._batches(network, evaluation_data, start=len(accuracies))
        steps = evaluation_data.module.steps_per_epoch
        for epoch in range(len(accuracies), probe.epochs):
            for step in range(steps):
                done = epoch + (step / steps if probe.anneal == "step" else 0)
                rate_factor = 0.5 * (1 + math.cos(math.pi * done / probe.epochs))
                heads.step(*next(batches), rate_factor)
            accuracies.append(heads.accuracy(*queries))
            self.progress.after_epoch(heads, part=self.part, epochs=probe.epochs)
        return accuracies

    def _open(self) -> EvaluationData:
        task = self.task
        return open_evaluation_data(
            task.data,
            image_size=image_side(task.model, task.data),
            eval_crop=task.eval_crop,
            seed=task.seed,
            context=self.progress.context,
            augment=CROPS,
            batch_size=task.probe.batch_size,
        )

    def _heads(self, module: DataModule, *, width: int, device: torch.device) -> LinearHeads:
        probe = self.task.probe
        return LinearHeads(
            [rate * probe.batch_size / 256 for rate in probe.rates],
            width=width,
            classes=module.classes,
            generator=generator(self.task.seed, "probe"),
            device=device,
        )

    def _features(
        self, network: VisionTransformer | None, batches: Iterator[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        pairs = [(self._seen(network, images), labels) for images, labels in batches]
        parts, labels = zip(*pairs, strict=True)
        features = torch.cat(parts)
        if network is not None:
            require_finite_features(features, network)
        return features, torch.cat(labels)

    def _seen(self, network: VisionTransformer | None, images: Tensor) -> Tensor:
        if network is None:
            return images.flatten(1)
        probe = self.task.probe
        return network.probed_features(images, blocks=probe.blocks, average=probe.average)

    def _batches(
        self, network: VisionTransformer | None, evaluation_data: EvaluationData, *, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels from epoch `start` on, without end."""
        module, probe = evaluation_data.module, self.task.probe
        first = start * module.steps_per_epoch
        if probe.augment:
            for images, labels in module.train_labelled(first):
                yield self._seen(network, images), labels
            return
        features, labels = self._features(network, evaluation_data.bank())
        order = Sampler(
            images=len(labels), batch_size=probe.batch_size, repeats=1, seed=self.task.seed
        )
        for _, indices in order.batches(first):
            indices = indices.to(features.device)
            yield features[indices], labels[indices]
