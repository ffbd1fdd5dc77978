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
from harness.precision import choose_attention
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
    about, recipe = data or open_dataset(config.data), config.recipe

    def build(model: ModelConfig, precision: str) -> VisionTransformer:
        network = network_for(about, model, dependencies, device)
        choose_attention(network, precision, device)
        return network

    def frozen(model: ModelConfig | None, precision: str) -> VisionTransformer | None:
        return None if model is None else freeze_watched(build(model, precision))

    seed_weights(config.seed)
    student = build(config.student, recipe.precision)
    teacher = frozen(config.teacher, recipe.taught_in)
    if teacher is not None and config.teacher is not None:
        require_classifier(teacher, config.teacher.weights, about.classes)
    saliency_model = frozen(config.saliency_model, recipe.precision)
    return Networks(
        student=student.train(),
        teacher=teacher,
        saliency_model=saliency_model,
        teacher_precision=recipe.teacher_precision,
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
