"""Whether weights can be had here, without loading them."""

from __future__ import annotations

import os
from pathlib import Path

from harness import variables
from harness.models.config import Weights
from harness.paths import project_file
from harness.variables import user_path


def missing_weights(weights: Weights) -> str | None:
    """What is missing and what to do about it; None when the weights are at hand, random, or
    trained by a dependency.
    """
    if weights.file is not None and not project_file(weights.file).is_file():
        return f"weights {weights.file}: there is no file {project_file(weights.file)}"
    if weights.hub is not None and not _cached(weights.hub):
        return (
            f"weights {weights.hub}: fetch them where the model hub is reachable: "
            f"python -c \"import timm; timm.create_model('{weights.hub}', pretrained=True)\""
        )
    return None


def _cached(name: str) -> bool:
    hub = hub_cache()
    return hub is not None and (hub / f"models--timm--{name}" / "snapshots").is_dir()


def hub_cache() -> Path | None:
    """Where the model hub's client keeps what it fetched; None without a home directory."""
    given = os.environ.get("HF_HUB_CACHE")
    if given:
        return user_path(given, "$HF_HUB_CACHE")
    home = os.environ.get("HF_HOME")
    if home:
        return user_path(home, "$HF_HOME") / "hub"
    own = variables.home()
    return None if own is None else own / ".cache" / "huggingface" / "hub"
