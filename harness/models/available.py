"""Whether weights can be had here, without loading them."""

from __future__ import annotations

import os
from pathlib import Path

from harness.models.config import Weights
from harness.paths import project_root


def missing_weights(weights: Weights) -> str | None:
    """What is missing and what to do about it; None when the weights are at hand, random, or
    trained by a dependency.
    """
    if weights.file is not None and not (project_root() / weights.file).is_file():
        return f"weights {weights.file}: there is no file {project_root() / weights.file}"
    if weights.hub is not None and not _cached(weights.hub):
        return (
            f"weights {weights.hub}: fetch them where the model hub is reachable: "
            f"python -c \"import timm; timm.create_model('{weights.hub}', pretrained=True)\""
        )
    return None


def _cached(name: str) -> bool:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return (hub / f"models--timm--{name}" / "snapshots").is_dir()
