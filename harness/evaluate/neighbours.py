"""All nearest-neighbour numbers of one trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from harness.data.config import DataConfig
from harness.data.pipeline import Pipeline, open_pipeline
from harness.evaluate.features import Features, extract, pixels, spread
from harness.evaluate.knn import FEW_SHOT_STARTS, TEMPERATURE, few_shot_accuracy, knn_accuracy
from harness.models.build import build_model
from harness.models.config import ModelConfig, Weights
from harness.models.vit import Normalisation, VisionTransformer
from harness.run import RunContext
from harness.seeding import stream
from harness.train.config import Augment

BATCH = 500


def neighbours(
    model: ModelConfig,
    data: DataConfig,
    *,
    ks: Sequence[int],
    eval_crop: float,
    seed: int,
    context: RunContext,
) -> dict[str, float]:
    """The metrics of `harness.kinds.knn.KnnRun`, by name."""
    device = torch.device(context.resources.device.replace("auto", _first()))
    pipeline = open_pipeline(
        data,
        Augment(),
        image_size=model.shape.image_size,
        batch_size=1,
        eval_crop=eval_crop,
        seed=seed,
        device=device,
        workers=context.resources.workers,
    )
    torch.manual_seed(stream(seed, "init"))
    untrained = _built(replace(model, weights=Weights()), pipeline, context).to(device)
    trained = _built(model, pipeline, context).to(device)
    found: dict[str, float] = {}
    for prefix, network in (("", trained), ("untrained/", untrained)):
        bank, queries = extract(network, _bank(pipeline)), extract(network, _queries(pipeline))
        found |= {
            f"{prefix}{name}": value
            for name, value in _votes(bank, queries, ks, pipeline.classes).items()
        }
        if not prefix:
            found |= spread(queries.features)
    if pipeline.bank_in_memory:
        bank, queries = pixels(_bank(pipeline)), pixels(_queries(pipeline))
        votes = _votes(bank, queries, ks, pipeline.classes)
        found |= {f"pixels/{name}": value for name, value in votes.items()}
    return found


def _first() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _built(model: ModelConfig, pipeline: Pipeline, context: RunContext) -> VisionTransformer:
    return build_model(
        model,
        classes=pipeline.classes,
        channels=pipeline.channels,
        seen=Normalisation(mean=pipeline.mean, std=pipeline.std),
        dependencies=context.dependencies,
    )


def _bank(pipeline: Pipeline) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return pipeline.bank(BATCH)


def _queries(pipeline: Pipeline) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return pipeline.evaluation(BATCH)


def _votes(bank: Features, queries: Features, ks: Sequence[int], classes: int) -> dict[str, float]:
    accuracies = knn_accuracy(bank, queries, ks=ks, classes=classes)
    found = {f"knn-k{k}-t{TEMPERATURE}/top1": value for k, value in accuracies.items()}
    for images in FEW_SHOT_STARTS:
        few = few_shot_accuracy(bank, queries, images=images, classes=classes)
        if few is not None:
            found[f"knn-nu{images}-t{TEMPERATURE}/top1"] = few
    return found
