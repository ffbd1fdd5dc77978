"""The networks of a run, and the device that they are on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from harness.data import open_dataset
from harness.data.dataset import DataSet
from harness.data.module import DataModule
from harness.errors import RunFailed
from harness.methods import Networks
from harness.models.build import build_model, freeze_watched, require_classifier
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation, VisionTransformer
from harness.seeding import stream
from harness.train.config import TrainConfig


def pick_device(wanted: str) -> torch.device:
    """The device called `wanted`; `auto` is the first GPU, or else the CPU.

    Raises RunFailed when PyTorch cannot use the GPU: another device would be another measurement.
    """
    usable = torch.cuda.is_available()
    if wanted == "auto":
        return torch.device("cuda" if usable else "cpu")
    if wanted.startswith("cuda") and not usable:
        raise RunFailed(
            f"device '{wanted}' was asked for, but PyTorch {torch.__version__} finds no usable "
            "GPU: look at `nvidia-smi` and the driver, or say --device cpu"
        )
    return torch.device(wanted)


def build_networks(
    config: TrainConfig,
    dependencies: Mapping[str, Path],
    device: torch.device,
    data: DataModule | None = None,
) -> Networks:
    """The student as it begins, in training mode, and the frozen networks, watched."""
    about = data or open_dataset(config.data)

    def build(model: ModelConfig) -> VisionTransformer:
        return network_for(about, model, dependencies, device)

    def frozen(model: ModelConfig | None) -> VisionTransformer | None:
        return None if model is None else freeze_watched(build(model))

    seed_weights(config.seed)
    student, teacher = build(config.student), frozen(config.teacher)
    if teacher is not None and config.teacher is not None:
        require_classifier(teacher, config.teacher.weights, about.classes)
    saliency_model = frozen(config.saliency_model)
    return Networks(
        student=student.train(),
        teacher=teacher,
        saliency_model=saliency_model,
        teacher_precision=config.recipe.teacher_precision,
    )


def seed_weights(seed: int) -> None:
    """The random weights of the next network are those that training at this seed starts from."""
    torch.manual_seed(stream(seed, "init"))


def network_for(
    data: DataModule | DataSet,
    model: ModelConfig,
    dependencies: Mapping[str, Path],
    device: torch.device,
) -> VisionTransformer:
    """A network for the images and classes of `data`."""
    network = build_model(
        model,
        classes=data.classes,
        channels=data.channels,
        input_norm=Normalisation(mean=data.mean, std=data.std),
        dependencies=dependencies,
    )
    return network.to(device)
