"""Networks, most with weights far from their initial values, so that every one matters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from harness.models.build import build_model
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation, VisionTransformer

M = TypeVar("M", bound=torch.nn.Module)


def build(
    config: ModelConfig,
    classes: int = 7,
    *,
    channels: int = 3,
    norm: Normalisation | None = None,
    dependencies: Mapping[str, Path] | None = None,
    seed: int = 1,
) -> VisionTransformer:
    """The network of `config`, for images that are normalised in some way, or by `norm`."""
    torch.manual_seed(seed)
    return build_model(
        config,
        classes=classes,
        channels=channels,
        input_norm=norm or Normalisation(mean=(0.5,) * channels, std=(0.25,) * channels),
        dependencies=dependencies or {},
    )


def shake(module: M, scale: float = 0.2) -> M:
    """The same module, with noise added to all of its parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return module
